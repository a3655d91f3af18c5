package notify

import (
	"net/http"
	"reflect"

	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// hangUp ends the connections of a service that has an HTTP transport of its
// own (gotify, mattermost, ntfy). The library makes one for each message, with
// connections that stay for another message which never comes, and has no way
// to end them; to use a service twice is none, since some keep what belongs to
// the first message. So its client is found by its type.
func hangUp(service types.Service) {
	v := reflect.Indirect(reflect.ValueOf(service))
	for i := range v.NumField() {
		field := v.Field(i)
		if field.Type() != reflect.TypeFor[*http.Client]() || field.IsNil() {
			continue
		}
		// The field is not exported: the pointer can be had, the value cannot.
		client := (*http.Client)(field.UnsafePointer())
		if client.Transport != nil && client.Transport != http.DefaultTransport {
			client.CloseIdleConnections()
		}
	}
}

package notify

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/format"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/specialized/generic"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/flightrules/flightrules/engine/action"
)

// silent is what services log to. They log URLs.
var silent = log.New(io.Discard, "", 0)

// send sends a message over the service of a URL.
func (p *Plugin) send(ctx context.Context, call action.Call, u *url.URL, title, message string) error {
	service, err := newService(u)
	if err != nil {
		return err
	}
	defer hangUp(service)
	if webhook, ok := service.(*generic.Service); ok {
		return p.post(ctx, call, webhook, title, message)
	}
	params := types.Params{}
	switch {
	case title == "":
	case takesTitle(service):
		params.SetTitle(title)
	default:
		message = title + "\n\n" + message
	}
	return service.Send(message, &params)
}

// newService makes the service of a URL. With Initialize, some log in.
func newService(u *url.URL) (types.Service, error) {
	scheme, _, custom := strings.Cut(u.Scheme, "+")
	service, err := (&router.ServiceRouter{}).NewService(scheme)
	if err != nil {
		return nil, err
	}
	if custom {
		from, ok := service.(types.CustomURLService)
		if !ok {
			return nil, fmt.Errorf("%s:// takes no URL of another kind", scheme)
		}
		if u, err = from.GetConfigURLFromCustom(u); err != nil {
			return nil, err
		}
	}
	return service, service.Initialize(u, silent)
}

// takesTitle says whether a service has a place for titles. Some refuse a
// message with a parameter that they do not know.
func takesTitle(service types.Service) bool {
	resolver := format.NewPropKeyResolver(format.GetServiceConfig(service))
	return slices.Contains(resolver.QueryFields(), types.TitleKey)
}

// post is what the service generic does, but that it ends with ctx, follows no
// redirect, and connects to nothing that the guard refuses.
func (p *Plugin) post(ctx context.Context, call action.Call, service *generic.Service, title, message string) error {
	config := service.Config
	params := types.Params{}
	contentType := config.ContentType
	if config.Template == "" { // the message as it is
		contentType = "text/plain; charset=utf-8"
		if title != "" {
			message = title + "\n\n" + message
		}
	} else if title != "" {
		params[config.TitleKey] = title
	}
	params[config.MessageKey] = message
	payload, err := service.GetPayload(config, params)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(payload)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, config.RequestMethod, config.WebhookURL().String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "flightrules")
	req.Header.Set("Idempotency-Key", call.IdempotencyKey)
	for key, values := range config.GetURL().Query() {
		if name, ok := strings.CutPrefix(key, string(generic.HeaderPrefixChar)); ok {
			req.Header.Set(name, values[0])
		}
	}
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	// Enough for a connection to be used again.
	answer, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s: %s", res.Status, answer)
	}
	return err
}

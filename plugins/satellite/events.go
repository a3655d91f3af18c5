package satellite

import (
	"errors"
	"time"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/triggers"
)

// Payload is what every event of a satellite tells.
type Payload struct {
	SatelliteID string            `json:"satellite_id"`
	Name        string            `json:"name"`
	Region      string            `json:"region"`
	Tags        map[string]string `json:"tags"`
	Status      string            `json:"status" enum:"online,offline"`
	LastSeenAt  time.Time         `json:"last_seen_at" doc:"When it was heard last."`
}

// ConnectedPayload is what satellite.connected tells.
type ConnectedPayload struct {
	Payload
	Recovered bool `json:"recovered" doc:"It was lost before."`
}

// LostPayload is what satellite.heartbeat_lost tells.
type LostPayload struct {
	Payload
	MassLoss string `json:"mass_loss" doc:"The mass loss that it belongs to, as satellite.mass_loss names it; empty: it is lost by itself."`
}

func payload(id string, s State) Payload {
	return Payload{SatelliteID: id, Name: s.Name, Region: s.Region, Tags: s.Tags, Status: s.Status, LastSeenAt: s.LastSeenAt}
}

func (p *Plugin) defineEvents() error {
	return errors.Join(
		derive(p, "satellite.connected", "A satellite connected, or is heard again after a loss.",
			func(c entities.Change[State]) (ConnectedPayload, bool) {
				if !became(c, connected) {
					return ConnectedPayload{}, false
				}
				return ConnectedPayload{payload(c.ID, *c.Next), c.Prev != nil && c.Prev.LastEvent == heartbeatLost}, true
			}),
		derive(p, "satellite.disconnected", "A satellite said goodbye, or its token ended.",
			func(c entities.Change[State]) (Payload, bool) {
				if !became(c, disconnected) {
					return Payload{}, false
				}
				return payload(c.ID, *c.Next), true
			}),
		derive(p, "satellite.heartbeat_lost", "A satellite was silent for its threshold.",
			func(c entities.Change[State]) (LostPayload, bool) {
				if !became(c, heartbeatLost) {
					return LostPayload{}, false
				}
				return LostPayload{payload(c.ID, *c.Next), c.Next.MassLoss}, true
			}),
		derive(p, "satellite.removed", "A satellite was removed; the payload is as it was before.",
			func(c entities.Change[State]) (Payload, bool) {
				if c.Next != nil || c.Prev == nil {
					return Payload{}, false
				}
				return payload(c.ID, *c.Prev), true
			}),
	)
}

func derive[P any](p *Plugin, name, doc string, fn func(entities.Change[State]) (P, bool)) error {
	event, err := triggers.Define[P](p.host.Events(), triggers.EventSpec{Name: name, Doc: doc, Kind: p.kind.Name()})
	if err != nil {
		return err
	}
	return triggers.Derive(p.host.Events(), p.kind, event, fn)
}

// became says whether the change is the one into that connection event.
func became(c entities.Change[State], event string) bool {
	return c.Next != nil && c.Next.LastEvent == event && (c.Prev == nil || c.Prev.LastEvent != event)
}

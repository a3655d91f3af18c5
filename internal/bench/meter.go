package bench

import (
	"errors"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/triggers"
)

// meter is the kind of entity that is measured with: something small that
// changes all the time.
type meter struct {
	Status string  `json:"status" enum:"low,high"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Region string  `json:"region"`
	Count  int     `json:"count"`
}

// crossed is the payload of meter.crossed, the event of a change of status.
type crossed struct {
	Meter  string  `json:"meter"`
	Status string  `json:"status"`
	Value  float64 `json:"value"`
}

// meters is the plugin that brings them.
type meters struct{ handle *entities.Handle[meter] }

func (*meters) Name() string { return "meters" }

func (p *meters) Register(h *plugins.Host) (err error) {
	if p.handle, err = entities.Define(h.Entities(), entities.Spec[meter]{Name: "meter", Doc: "A meter."}); err != nil {
		return err
	}
	event, err := triggers.Define[crossed](h.Events(), triggers.EventSpec{Name: "meter.crossed", Doc: "The status changed."})
	return errors.Join(err, triggers.Derive(h.Events(), p.handle, event, func(c entities.Change[meter]) (crossed, bool) {
		if c.Next == nil || c.Prev != nil && c.Prev.Status == c.Next.Status {
			return crossed{}, false
		}
		return crossed{Meter: c.ID, Status: c.Next.Status, Value: c.Next.Value}, true
	}))
}

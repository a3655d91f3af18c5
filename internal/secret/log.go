package secret

import (
	"context"
	"fmt"
	"log/slog"
)

// Handler is a handler of logs that masks messages and attributes.
func Handler(next slog.Handler, m *Masker) slog.Handler {
	if m == nil || m.replacer == nil {
		return next
	}
	return &handler{next, m}
}

type handler struct {
	slog.Handler
	masker *Masker
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	masked := slog.NewRecord(r.Time, r.Level, h.masker.Text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		masked.AddAttrs(h.attr(a))
		return true
	})
	return h.Handler.Handle(ctx, masked)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	masked := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		masked[i] = h.attr(a)
	}
	return &handler{h.Handler.WithAttrs(masked), h.masker}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.masker}
}

// attr masks an attribute. What is no text is one once it is written.
func (h *handler) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		var inside []any
		for _, one := range v.Group() {
			inside = append(inside, h.attr(one))
		}
		return slog.Group(a.Key, inside...)
	case slog.KindString:
		return slog.String(a.Key, h.masker.Text(v.String()))
	case slog.KindAny:
		text := fmt.Sprint(v.Any())
		if masked := h.masker.Text(text); masked != text {
			return slog.String(a.Key, masked)
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}

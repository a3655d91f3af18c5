package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

type token struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	Role      plugins.Role `json:"role"`
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt *time.Time   `json:"expires_at"`
	LastUsed  *time.Time   `json:"last_used" doc:"To the hour."`
}

func showToken(t Token) token {
	return token{
		ID: t.ID, Name: t.Name, Role: t.Role, CreatedAt: t.CreatedAt,
		ExpiresAt: db.At(t.ExpiresAt).Ptr(), LastUsed: db.At(t.LastUsed).Ptr(),
	}
}

type newToken struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	Role      plugins.Role `json:"role"`
	ExpiresAt *time.Time   `json:"expires_at"`
	Token     string       `json:"token" doc:"The token. It is shown this once."`
}

type postToken struct {
	Body struct {
		Name      string       `json:"name" example:"deploy" doc:"What histories call the caller by."`
		Role      plugins.Role `json:"role" enum:"viewer,operator,admin,hook"`
		ExpiresAt time.Time    `json:"expires_at,omitempty" doc:"When it ends; never, unless given."`
	}
}

type tokenPath struct {
	ID string `path:"id" maxLength:"200"`
}

func (s *Server) tokenOperations() {
	huma.Register(s.api, operation("list-tokens", http.MethodGet, "/api/v1/tokens", plugins.Admin, "The tokens, newest first"),
		func(ctx context.Context, in *Paging) (*reply[page[token]], error) {
			list, err := s.tokens.List(ctx, in.After, in.ask())
			if err != nil {
				return nil, err
			}
			return &reply[page[token]]{pageOf(*in, list, showToken, func(t Token) string { return t.ID })}, nil
		})
	op := operation("create-token", http.MethodPost, "/api/v1/tokens", plugins.Admin, "Make a token, which is shown this once")
	op.DefaultStatus = http.StatusCreated
	huma.Register(s.api, op, func(ctx context.Context, in *postToken) (*reply[newToken], error) {
		plain, t, err := s.tokens.Create(ctx, in.Body.Name, in.Body.Role, in.Body.ExpiresAt)
		if err != nil {
			return nil, err
		}
		return &reply[newToken]{newToken{ID: t.ID, Name: t.Name, Role: t.Role, ExpiresAt: db.At(t.ExpiresAt).Ptr(), Token: plain}}, nil
	})
	huma.Register(s.api, operation("revoke-token", http.MethodDelete, "/api/v1/tokens/{id}", plugins.Admin, "Revoke a token, at once"),
		func(ctx context.Context, in *tokenPath) (*struct{}, error) {
			return nil, s.tokens.Revoke(ctx, in.ID)
		})
}

package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/internal/refusal"
	"github.com/flightrules/flightrules/plugins"
)

// anyone is the role of an operation that asks for no token. Its name is not
// one that a plugin would write by mistake.
const anyone plugins.Role = "\x00anyone"

// Hook is the role of a token that may deliver to webhooks and do nothing else.
const Hook plugins.Role = "hook"

// ranks order the roles; what is not here ranks below all.
var ranks = map[plugins.Role]int{plugins.Viewer: 1, plugins.Operator: 2, plugins.Admin: 3}

// allows says whether a role may do what another one may.
func allows(has, want plugins.Role) bool { return ranks[has] >= ranks[want] && ranks[has] > 0 }

// wanted is the role that an operation wants; one that does not say is for
// admins.
func wanted(op *huma.Operation) plugins.Role {
	role, _ := op.Metadata[plugins.RoleKey].(plugins.Role)
	if role != anyone && ranks[role] == 0 {
		return plugins.Admin
	}
	return role
}

// credentials are what a request may show of whose it is.
type credentials struct{ method, authorization, cookies, remote string }

type credentialsKey struct{}

// still says whether whose request it is would be let in again: a token or a
// session can end while a request goes on.
func (s *Server) still(ctx context.Context) bool {
	by, _ := ctx.Value(credentialsKey{}).(credentials)
	caller, err := s.known(ctx, by)
	return err == nil && caller.May(plugins.Viewer)
}

// identify finds out whose the request is. What it changes bears their name.
func (s *Server) identify(ctx huma.Context, next func(huma.Context)) {
	if wanted(ctx.Operation()) == anyone {
		next(ctx)
		return
	}
	by := credentials{ctx.Method(), ctx.Header("Authorization"), ctx.Header("Cookie"), ctx.RemoteAddr()}
	caller, problem := s.admit(ctx.Context(), by)
	if problem != nil {
		refuse(ctx, problem)
		return
	}
	inner := context.WithValue(context.WithValue(ctx.Context(), callerKey{}, caller), credentialsKey{}, by)
	next(huma.WithContext(ctx, withActor(inner, caller)))
}

// permit turns away who lacks the role.
func (s *Server) permit(ctx huma.Context, next func(huma.Context)) {
	want := wanted(ctx.Operation())
	caller, _ := ctx.Context().Value(callerKey{}).(Caller)
	if want != anyone && !caller.May(want) {
		refuse(ctx, forbidden(caller.Role, want))
		return
	}
	next(ctx)
}

// guard is identify and permit for pages that are no operations.
func (s *Server) guard(want plugins.Role, h http.HandlerFunc) http.HandlerFunc {
	return s.contain(func(w http.ResponseWriter, r *http.Request) {
		caller, problem := s.admit(r.Context(), credentials{r.Method, r.Header.Get("Authorization"), r.Header.Get("Cookie"), r.RemoteAddr})
		if problem == nil && !caller.May(want) {
			problem = forbidden(caller.Role, want)
		}
		if problem != nil {
			problem.write(w)
			return
		}
		h(w, r)
	})
}

// admit finds out whose a request is. A good token is always let in, also from
// an address that has failed often: behind a proxy everybody has one address,
// and a stranger must not be able to lock them all out. A session lets in what
// only reads: what writes comes from a page, which knows its own forms.
func (s *Server) admit(ctx context.Context, by credentials) (Caller, *Problem) {
	if caller, ok := ctx.Value(callerKey{}).(Caller); ok {
		return caller, nil
	}
	caller, err := s.known(ctx, by)
	if err == nil {
		return caller, nil
	}
	if !errors.Is(err, ErrUnauthenticated) {
		return Caller{}, unexpected(ctx, http.StatusServiceUnavailable, err)
	}
	if p := s.stranger(by.remote); p != nil {
		return Caller{}, p
	}
	s.Log.Warn("a request without a valid token was refused", "remote", by.remote, "token", by.authorization != "")
	if by.authorization == "" {
		return Caller{}, newProblem(http.StatusUnauthorized, "", "a token is wanted: send Authorization: Bearer TOKEN").
			with("WWW-Authenticate", `Bearer realm="flightrules"`)
	}
	return Caller{}, newProblem(http.StatusUnauthorized, "", ErrUnauthenticated.Error()).
		with("WWW-Authenticate", `Bearer realm="flightrules", error="invalid_token"`)
}

func (s *Server) known(ctx context.Context, by credentials) (Caller, error) {
	scheme, plain, _ := strings.Cut(by.authorization, " ")
	if strings.EqualFold(scheme, "Bearer") && plain != "" {
		token, err := s.tokens.Authenticate(ctx, strings.TrimSpace(plain))
		return callerOf(token), err
	}
	session := cookieIn(by.cookies, SessionCookie)
	if by.authorization != "" || session == "" || by.method != http.MethodGet && by.method != http.MethodHead {
		return Caller{}, ErrUnauthenticated
	}
	return s.tokens.Session(ctx, session)
}

// stranger counts a failure to authenticate; the problem is for an address that
// has failed too often.
func (s *Server) stranger(remote string) *Problem {
	wait := s.refusals.Take(s.Now(), refusal.Address(remote))
	if wait == 0 {
		return nil
	}
	return newProblem(http.StatusTooManyRequests, "", "too many requests without a valid token or signature came from this address").
		with("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
}

func forbidden(has, want plugins.Role) *Problem {
	return newProblem(http.StatusForbidden, "", "this wants the role "+string(want)+", and the token has the role "+string(has))
}

// refuse answers in the place of an operation.
func refuse(ctx huma.Context, p *Problem) {
	for name := range p.headers {
		ctx.SetHeader(name, p.headers.Get(name))
	}
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(p) // it fails only when the client is gone
}

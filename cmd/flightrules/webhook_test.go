package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestWebhook(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules", "a.yaml"), `rules:
  - id: push
    triggers:
      - webhook: hub
        secret: ${{ secrets.HUB }}
        where: event.payload.body.ref == "main"
    actions: [{log: "${{ event.payload.headers['x-github-event'] }} to ${{ event.payload.body.ref }}"}]
`)
	t.Setenv("FLIGHTRULES_SECRET_HUB", "hush")
	s := serve(t, filepath.Join(dir, "data"), filepath.Join(dir, "rules"))
	const body = `{"ref":"main"}`
	mac := hmac.New(sha256.New, []byte("hush"))
	mac.Write([]byte(body))
	for i, want := range []int{http.StatusAccepted, http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/hooks/hub", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-GitHub-Event", "push")
		req.Header.Set("X-GitHub-Delivery", "d1")
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != want {
			t.Fatalf("delivery %d: status %s, want %d; %v", i+1, res.Status, want, err)
		}
	}
	until(t, func() bool {
		return len(s.call(t, "GET", "/api/v1/runs?status=succeeded", "")["items"].([]any)) == 1
	})
	s.stop(t)
}

package etcd

import (
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// The bodies are those of etcd 3.7.3, but for the order of the checks, which it draws anew each time.
func TestChecks(t *testing.T) {
	s := serve(t, nil)
	const all = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n"
	corrupt := func() { s.replica.raise(9, command.AlarmCorrupt) }
	alone := func() { s.replica.readErr = outcome(OutcomeTimeout) }
	learner := func() { s.replica.status.MemberID = 5 }
	for _, c := range []struct {
		path   string
		script func()
		status int
		body   string
	}{
		{"/livez", nil, 200, "ok\n"},
		{"/livez?verbose", nil, 200, "[+]serializable_read ok\nok\n"},
		{"/livez?verbose=no", nil, 200, "[+]serializable_read ok\nok\n"},
		{"/livez?exclude=serializable_read&verbose", nil, 200, "ok\n"},
		{"/livez/serializable_read", nil, 200, "ok\n"},
		{"/livez/linearizable_read", nil, 404, "404 page not found\n"},
		{"/livez", alone, 200, "ok\n"},
		{"/livez", corrupt, 200, "ok\n"},
		{"/readyz", nil, 200, "ok\n"},
		{"/readyz?verbose", nil, 200, all + "ok\n"},
		{"/readyz?exclude=nope&verbose", nil, 200, all + "ok\n"},
		{"/readyz", alone, 503, "[+]data_corruption ok\n[+]serializable_read ok\n" +
			"[-]linearizable_read failed: etcdserver: request timed out\n[+]non_learner ok\n\n"},
		{"/readyz?exclude=linearizable_read", alone, 200, "ok\n"},
		{"/readyz/serializable_read", alone, 200, "ok\n"},
		{"/readyz/linearizable_read", alone, 503, "[-]linearizable_read failed: etcdserver: request timed out\n\n"},
		{"/readyz/data_corruption?verbose", nil, 200, "[+]data_corruption ok\nok\n"},
		{"/readyz/data_corruption", corrupt, 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"},
		{"/readyz/non_learner", learner, 503, "[-]non_learner failed: not supported for learner\n\n"},
		{"/readyz/nope", nil, 404, "404 page not found\n"},
	} {
		s.replica.set(func() {
			s.replica.status.MemberID, s.replica.readErr = 3, nil
			s.replica.clear()
			if c.script != nil {
				c.script()
			}
		})
		status, header, body := s.fetch(t, "GET", c.path)
		if status != c.status || body != c.body || header.Get("Content-Type") != "text/plain; charset=utf-8" ||
			header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %q %v, want %d %q", c.path, status, body, header, c.status, c.body)
		}
	}
	for _, path := range []string{"/livez", "/livez/serializable_read", "/readyz", "/readyz/non_learner"} {
		status, header, body := s.fetch(t, "POST", path)
		if status != 405 || header.Get("Allow") != "GET" || body != "Method Not Allowed\n" {
			t.Errorf("POST %s: %d %q, Allow %q", path, status, body, header.Get("Allow"))
		}
	}
	_, _, metrics := s.fetch(t, "GET", "/metrics")
	for _, want := range []string{
		`etcd_server_healthcheck{name="non_learner",type="readyz"} 0`,
		`etcd_server_healthcheck{name="serializable_read",type="livez"} 1`,
		`etcd_server_healthchecks_total{name="linearizable_read",status="error",type="readyz"} 2`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("/metrics lacks %q", want)
		}
	}
}

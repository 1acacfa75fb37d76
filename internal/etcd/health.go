package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// health is the body of /health. Health is a string to this day: "true" or "false".
type health struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

// serveHealth answers whether this member can serve: 200, or 503 with the reason. With
// serializable=true only the member itself is asked, not the cluster; exclude=NOSPACE overlooks alarms of that type, and full
// disks.
func (p *probes) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !getOnly(w, r) {
		return
	}
	reason := p.ailment(r.Context(), r.URL.Query().Get("serializable") == "true", r.URL.Query()["exclude"])
	if reason == "" {
		p.metrics.HealthSuccesses.Inc()
		w.Write(encoded(health{Health: "true"}))
		return
	}
	p.metrics.HealthFailures.Inc()
	p.log.Warn("health check failed", "path", r.URL.Path, "reason", reason)
	http.Error(w, string(encoded(health{Health: "false", Reason: reason})), http.StatusServiceUnavailable)
}

// ailment is the reason why this member cannot serve; empty if it can. Alarms come first, then it tries the read that etcd
// tries.
func (p *probes) ailment(ctx context.Context, local bool, excluded []string) string {
	for _, a := range p.alarms() {
		name := pb.AlarmType(a.Type).String()
		if slices.Contains(excluded, name) {
			continue
		}
		if a.Type != command.AlarmNoSpace && a.Type != command.AlarmCorrupt {
			name = "UNKNOWN"
		}
		return "ALARM " + name
	}
	if p.kv.replica.Status().DiskFull && !slices.Contains(excluded, pb.AlarmType_NOSPACE.String()) {
		return "DISK FULL"
	}
	if !local && p.kv.replica.Status().LeaderID == 0 {
		return "RAFT NO LEADER"
	}
	if err := p.tryRead(ctx, local); err != nil {
		return fmt.Sprintf("RANGE ERROR:%s", err)
	}
	return ""
}

// alarms are those that are on, as far as this member knows.
func (p *probes) alarms() (list []state.Alarm) {
	p.kv.replica.Read(func(v state.View) { list = v.Alarms() })
	return list
}

// tryRead makes a read like a client's. The error is for people.
func (p *probes) tryRead(ctx context.Context, local bool) error {
	err := p.kv.read(ctx, local, func(state.View) state.Code { return state.OK })
	if err != nil {
		return errors.New(rpctypes.ErrorDesc(err))
	}
	return nil
}

// check is one thing that must be well; run says what is not.
type check struct {
	name string
	run  func(ctx context.Context) error
}

// livezChecks fail where a restart of this member may help.
func (p *probes) livezChecks() []check {
	return []check{{"serializable_read", func(ctx context.Context) error { return p.tryRead(ctx, true) }}}
}

// readyzChecks fail where clients had better go to another member.
func (p *probes) readyzChecks() []check {
	return []check{
		{"data_corruption", p.checkCorruption},
		{"serializable_read", func(ctx context.Context) error { return p.tryRead(ctx, true) }},
		{"linearizable_read", func(ctx context.Context) error { return p.tryRead(ctx, false) }},
		{"non_learner", p.checkVoter},
	}
}

func (p *probes) checkCorruption(context.Context) error {
	for _, a := range p.alarms() {
		if a.Type == command.AlarmCorrupt {
			return fmt.Errorf("alarm activated: %s", pb.AlarmType_CORRUPT)
		}
	}
	return nil
}

func (p *probes) checkVoter(context.Context) error {
	if role, _ := p.kv.role(p.kv.replica.Status().MemberID); role == command.Learner {
		return errors.New("not supported for learner")
	}
	return nil
}

// handleChecks serves the checks of a kind together under /kind, where exclude=name leaves one out, and each by
// itself below. What is to be excluded and does not exist is no error, so that one probe fits all versions.
func (p *probes) handleChecks(mux *http.ServeMux, kind string, checks []check) {
	mux.HandleFunc("/"+kind, func(w http.ResponseWriter, r *http.Request) {
		excluded := r.URL.Query()["exclude"]
		p.serveChecks(w, r, kind, slices.DeleteFunc(slices.Clone(checks), func(c check) bool {
			return slices.Contains(excluded, c.name)
		}))
	})
	for _, c := range checks {
		mux.HandleFunc("/"+kind+"/"+c.name, func(w http.ResponseWriter, r *http.Request) {
			p.serveChecks(w, r, kind, []check{c})
		})
	}
}

// serveChecks runs checks and answers "ok", or 503 and how each of them ended; with verbose in the query, that in
// any case.
func (p *probes) serveChecks(w http.ResponseWriter, r *http.Request, kind string, checks []check) {
	if !getOnly(w, r) {
		return
	}
	var lines strings.Builder
	well := true
	for _, c := range checks {
		err := c.run(r.Context())
		p.metrics.Checked(kind, c.name, err == nil)
		if err != nil {
			well = false
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", c.name, err)
			continue
		}
		fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
	}
	if !well {
		p.log.Warn("health check failed", "path", r.URL.Path, "reason", lines.String())
		http.Error(w, lines.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Has("verbose") {
		fmt.Fprint(w, lines.String())
	}
	fmt.Fprint(w, "ok\n")
}

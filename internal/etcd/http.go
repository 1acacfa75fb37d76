package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// The versions of etcd that okapi presents itself as. Clients gate features on the first; some
// split it at the dots and take every part for a number, so it has no suffix.
const (
	// ServerVersion is the release of etcd whose behaviour is kept.
	ServerVersion = "3.7.3"
	// ClusterVersion and StorageVersion are its minor version, as etcd reports them.
	ClusterVersion = "3.7.0"
	StorageVersion = "3.7.0"
)

// probes serves the HTTP paths that load balancers, orchestrators and clients ask on the client
// port (etcd: server/etcdserver/api/etcdhttp).
type probes struct {
	kv *kvServer
}

// handler routes the paths; all others are "404 page not found".
func (p *probes) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", p.serveHealth)
	mux.HandleFunc("/version", p.serveVersion)
	return mux
}

// health is the body of /health. Health is a string to this day: "true" or "false".
type health struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

// serveHealth answers whether this member can serve: 200, or 503 with the reason. With
// serializable=true only the member itself is asked, not the cluster.
func (p *probes) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !getOnly(w, r) {
		return
	}
	reason := p.ailment(r.Context(), r.URL.Query().Get("serializable") == "true")
	if reason == "" {
		w.Write(encoded(health{Health: "true"}))
		return
	}
	http.Error(w, string(encoded(health{Health: "false", Reason: reason})), http.StatusServiceUnavailable)
}

// ailment is the reason why this member cannot serve; empty if it can. It tries the read that
// etcd tries.
func (p *probes) ailment(ctx context.Context, local bool) string {
	if !local && p.kv.replica.Status().LeaderID == 0 {
		return "RAFT NO LEADER"
	}
	err := p.kv.read(ctx, local, func(state.View) state.Code { return state.OK })
	if err != nil {
		return fmt.Sprintf("RANGE ERROR:%s", rpctypes.ErrorDesc(err))
	}
	return ""
}

// versions is the body of /version.
type versions struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
	Storage string `json:"storage"`
}

// serveVersion answers which etcd this is.
func (p *probes) serveVersion(w http.ResponseWriter, r *http.Request) {
	if !getOnly(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(encoded(versions{Server: ServerVersion, Cluster: ClusterVersion, Storage: StorageVersion}))
}

// getOnly answers 405 to every method but GET and reports whether the request may go on.
func getOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	w.Header().Set("Allow", http.MethodGet)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}

// encoded is the JSON of a body. Bodies are structs of strings, which always have one.
func encoded(body any) []byte {
	b, err := json.Marshal(body)
	invariant.Assert(err == nil, "a struct of strings has a JSON form", err)
	return b
}

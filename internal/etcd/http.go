package etcd

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/telemetry"
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
	kv      *kvServer
	admin   http.Handler // nil: nobody
	metrics *telemetry.Metrics
	log     *slog.Logger
}

// handler routes the paths; all others are "404 page not found".
func (p *probes) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", p.serveHealth)
	p.handleChecks(mux, "livez", p.livezChecks())
	p.handleChecks(mux, "readyz", p.readyzChecks())
	mux.HandleFunc("/version", p.serveVersion)
	if p.admin != nil {
		mux.Handle("/okapi/", p.admin)
	}
	registry := p.metrics.Registry()
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	return mux
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

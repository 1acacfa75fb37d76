package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/config"
	"github.com/okapi-kv/okapi/internal/core/command"
)

// foundingFlags turns the configuration into what founds a cluster.
func foundingFlags(cfg config.Config) cluster.Flags {
	var members []string
	for _, m := range cfg.InitialCluster {
		for _, u := range m.PeerURLs {
			members = append(members, m.Name+"="+u)
		}
	}
	return cluster.Flags{
		Name: cfg.Name, InitialCluster: strings.Join(members, ","), InitialClusterToken: cfg.InitialClusterToken,
		InitialAdvertisePeerURLs: strings.Join(cfg.InitialAdvertisePeerURLs, ","),
		AdvertiseClientURLs:      strings.Join(cfg.AdvertiseClientURLs, ","),
		Resolve:                  net.LookupHost,
	}
}

// settings are what a new cluster gets from this member's flags.
func settings(cfg config.Config) command.Settings {
	return command.Settings{
		TreePrefix: cfg.TreePrefix, TreeHistory: cfg.TreeHistory.Milliseconds(),
		QuotaBytes: quota(cfg.QuotaBackendBytes), TreeQuotaBytes: quota(cfg.TreeQuotaBytes),
		ExtendedTypes: true,
	}
}

// quota turns a flag into a bound: a quarter of the memory if the flag leaves it open, none if it is
// negative. Two quotas and their history then fit into the memory with room to spare.
func quota(flag int64) int64 {
	switch {
	case flag > 0:
		return flag
	case flag < 0:
		return 0
	}
	return memoryBytes() / 4
}

// minLeaseTTL is the shortest TTL of an etcd lease, in seconds: one and a half election timeouts, counted in heartbeats
// and rounded up, as etcd does (server/etcdserver/server.go), so that a change of leaders ends no lease that is kept alive.
func minLeaseTTL(cfg config.Config) int64 {
	ticks := 3 * (cfg.ElectionTimeoutMS / cfg.HeartbeatIntervalMS) / 2
	return (ticks*cfg.HeartbeatIntervalMS + 999) / 1000
}

// checkSettings compares the settings of the cluster with the flags of this member. A quota that the flags
// leave open agrees with any.
func checkSettings(cfg config.Config) func(command.Settings) error {
	return func(have command.Settings) error {
		want := settings(cfg)
		if cfg.QuotaBackendBytes == 0 {
			want.QuotaBytes = have.QuotaBytes
		}
		if cfg.TreeQuotaBytes == 0 {
			want.TreeQuotaBytes = have.TreeQuotaBytes
		}
		for _, d := range []struct {
			flag       string
			have, want any
		}{
			{"tree-prefix", have.TreePrefix, want.TreePrefix},
			{"tree-history", time.Duration(have.TreeHistory) * time.Millisecond, cfg.TreeHistory},
			{"quota-backend-bytes", have.QuotaBytes, want.QuotaBytes},
			{"tree-quota-bytes", have.TreeQuotaBytes, want.TreeQuotaBytes},
		} {
			if d.have != d.want {
				return fmt.Errorf("--%s is %v, but this cluster was founded with %v: start the member with the cluster's value", d.flag, d.want, d.have)
			}
		}
		return nil
	}
}

// peerTLS reads the certificates for links between members; nil if they go in clear.
func peerTLS(cfg config.Config) (*tls.Config, error) {
	if !cfg.PeerTLS() {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.PeerCertFile, cfg.PeerKeyFile)
	if err != nil {
		return nil, fmt.Errorf("--peer-cert-file and --peer-key-file cannot be used: %w", err)
	}
	pem, err := os.ReadFile(cfg.PeerTrustedCAFile)
	if err != nil {
		return nil, fmt.Errorf("--peer-trusted-ca-file cannot be read: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--peer-trusted-ca-file %s holds no certificate in PEM form", cfg.PeerTrustedCAFile)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, ClientCAs: roots, MinVersion: tls.VersionTLS13}, nil
}

// buildTime is when the source of this binary was committed; the zero time if that is not known.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value) // the zero time if it is no time
			return t
		}
	}
	return time.Time{}
}

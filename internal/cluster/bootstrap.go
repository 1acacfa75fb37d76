package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// The defaults of etcd's flags.
const (
	// DefaultName is the default of --name.
	DefaultName = "default"
	// DefaultToken is the default of --initial-cluster-token.
	DefaultToken = "etcd-cluster"
	// DefaultPeerURL is the default of --initial-advertise-peer-urls.
	DefaultPeerURL = "http://localhost:2380"
)

var (
	errEmptyCluster = errors.New("--initial-cluster is empty: list all members as name=http://host:port, separated by commas")
	errNoName       = errors.New("--initial-cluster has an entry without a name: write name=http://host:port")
	errSelfMissing  = errors.New("this member is not in --initial-cluster")
	errAdvertise    = errors.New("--initial-advertise-peer-urls and --initial-cluster disagree about this member")
)

// ParseInitialCluster takes the value of --initial-cluster, such as
// "n1=http://a:2380,n2=http://b:2380", where a name that occurs again adds a URL to that
// member. It gives the sorted peer URLs of each name. A URL may occur only once.
func ParseInitialCluster(text string) (map[string][]string, error) {
	lists := make(map[string][]string)
	owner := make(map[string]string)
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		name, value, found := strings.Cut(entry, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("%w, not %q", errNoName, entry)
		}
		u, err := parseURL(value)
		if err != nil {
			return nil, fmt.Errorf("--initial-cluster, member %q: %w", name, err)
		}
		if other, taken := owner[u]; taken {
			return nil, fmt.Errorf("--initial-cluster: %w: %s is listed for %q and for %q; each member needs its own", errDuplicateURL, u, other, name)
		}
		owner[u] = name
		lists[name] = append(lists[name], u)
	}
	if len(lists) == 0 {
		return nil, errEmptyCluster
	}
	for _, urls := range lists {
		slices.Sort(urls)
	}
	return lists, nil
}

// Flags are the flags that found a cluster, as etcd names them.
type Flags struct {
	// Name is --name.
	Name string
	// InitialCluster is --initial-cluster. Empty means this member alone, under its advertised
	// URLs.
	InitialCluster string
	// InitialClusterToken is --initial-cluster-token.
	InitialClusterToken string
	// InitialAdvertisePeerURLs is --initial-advertise-peer-urls, a comma-separated list.
	InitialAdvertisePeerURLs string
	// AdvertiseClientURLs is --advertise-client-urls, a comma-separated list; it may be empty.
	AdvertiseClientURLs string
	// Resolve looks up the addresses of a host name. It is asked only where the two ways in
	// which this member's URLs are given differ in writing. Nil compares the writing alone.
	Resolve func(host string) ([]string, error)
}

// Founding is a cluster about to be founded, seen from one member.
type Founding struct {
	ClusterID uint64
	Self      state.Member
	// Members are all of them, Self included, sorted by id.
	Members []state.Member
}

// Found checks the flags and derives all ids. Every member that gets the same
// --initial-cluster and token finds the same ids, at every start. Of the other members only
// names and peer URLs are known.
func Found(f Flags) (Founding, error) {
	advertised, err := ParseURLs(f.InitialAdvertisePeerURLs)
	if err != nil {
		return Founding{}, fmt.Errorf("--initial-advertise-peer-urls: %w", err)
	}
	clients, err := parseClientURLs(f.AdvertiseClientURLs)
	if err != nil {
		return Founding{}, err
	}
	lists := map[string][]string{f.Name: advertised}
	if f.InitialCluster != "" {
		if lists, err = ParseInitialCluster(f.InitialCluster); err != nil {
			return Founding{}, err
		}
	}
	if err := f.checkSelf(lists, advertised); err != nil {
		return Founding{}, err
	}
	var all Founding
	var ids []uint64
	for name, urls := range lists { // sorted below; ClusterID sorts
		m := state.Member{ID: MemberID(f.InitialClusterToken, urls), Name: name, PeerURLs: urls}
		all.Members, ids = append(all.Members, m), append(ids, m.ID)
		if name == f.Name {
			m.ClientURLs = clients
			all.Self = m
		}
	}
	if err := checkMembers(all.Members); err != nil {
		return Founding{}, fmt.Errorf("--initial-cluster: %w", err)
	}
	slices.SortFunc(all.Members, func(a, b state.Member) int { return cmp.Compare(a.ID, b.ID) })
	all.ClusterID = ClusterID(ids)
	return all, nil
}

func parseClientURLs(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	urls, err := ParseURLs(list)
	if err != nil {
		return nil, fmt.Errorf("--advertise-client-urls: %w", err)
	}
	return urls, nil
}

// checkSelf demands that both flags say the same about this member. Otherwise the others
// would expect a member that never appears, under an id that nobody has.
func (f *Flags) checkSelf(lists map[string][]string, advertised []string) error {
	listed, ok := lists[f.Name]
	if !ok {
		var names []string
		for name := range lists { // sorted below
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("%w: couldn't find --name=%q among %q; start it with one of these names, or add %s=%s",
			errSelfMissing, f.Name, names, f.Name, strings.Join(advertised, ","+f.Name+"="))
	}
	if slices.Equal(listed, advertised) {
		return nil
	}
	reason := ""
	if f.Resolve != nil {
		same, err := f.sameResolved(listed, advertised)
		if same {
			return nil
		}
		if err != nil {
			reason = " (" + err.Error() + ")"
		}
	}
	return fmt.Errorf("%w: --initial-cluster has %s=%s, but --initial-advertise-peer-urls=%s%s; make them equal",
		errAdvertise, f.Name, strings.Join(listed, ","+f.Name+"="), strings.Join(advertised, ","), reason)
}

// sameResolved compares two lists by the addresses behind their host names.
func (f *Flags) sameResolved(listed, advertised []string) (bool, error) {
	a, err := f.resolveAll(listed)
	if err != nil {
		return false, err
	}
	b, err := f.resolveAll(advertised)
	if err != nil {
		return false, err
	}
	return slices.Equal(a, b), nil
}

// resolveAll replaces each host by its lowest address, which stands for all of them.
func (f *Flags) resolveAll(urls []string) ([]string, error) {
	resolved := make([]string, 0, len(urls))
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("parse %q: %w", text, err)
		}
		addresses, err := f.Resolve(u.Hostname())
		if err != nil {
			return nil, fmt.Errorf("resolve %q: %w", u.Hostname(), err)
		}
		if len(addresses) == 0 {
			return nil, fmt.Errorf("resolve %q: no address", u.Hostname())
		}
		resolved = append(resolved, u.Scheme+"://["+slices.Min(addresses)+"]:"+u.Port())
	}
	slices.Sort(resolved)
	return resolved, nil
}

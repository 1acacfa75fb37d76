package cluster

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/state"
)

func hex(id uint64) string { return fmt.Sprintf("%x", id) }

// TestIDsAreThoseOfEtcd pins the ids that etcd's own documentation shows for these flags.
func TestIDsAreThoseOfEtcd(t *testing.T) {
	single := MemberID(DefaultToken, []string{DefaultPeerURL})
	if hex(single) != "8e9e05c52164694d" || hex(ClusterID([]uint64{single})) != "cdf818194e3a8c32" {
		t.Errorf("default member = %x, cluster = %x", single, ClusterID([]uint64{single}))
	}
	var ids []uint64
	for _, c := range []struct{ url, want string }{
		{"http://127.0.0.1:12380", "8211f1d0f64f3269"},
		{"http://127.0.0.1:22380", "91bc3c398fb3c146"},
		{"http://127.0.0.1:32380", "fd422379fda50e48"},
	} {
		id := MemberID("etcd-cluster-1", []string{c.url})
		if hex(id) != c.want {
			t.Errorf("member at %s = %x, want %s", c.url, id, c.want)
		}
		ids = append(ids, id)
	}
	if got := hex(ClusterID(ids)); got != "ef37ad9dc622a7c4" {
		t.Errorf("cluster = %s", got)
	}
}

func TestIDsDependOnWhatTheyShould(t *testing.T) {
	urls := []string{"http://a:1", "http://b:2"}
	id := MemberID("t", urls)
	if MemberID("t", []string{"http://b:2", "http://a:1"}) != id {
		t.Error("the order of URLs matters")
	}
	if !slices.Equal(urls, []string{"http://a:1", "http://b:2"}) {
		t.Error("the argument was sorted in place")
	}
	if MemberID("u", urls) == id || MemberID("t", urls[:1]) == id {
		t.Error("token or URLs do not matter")
	}
	now := time.Unix(1700000000, 5)
	added := AddedMemberID("t", urls, now)
	if added == id || added == AddedMemberID("t", urls, now.Add(time.Second)) || added != AddedMemberID("t", urls, now.Add(time.Millisecond)) {
		t.Error("the id of an added member depends on the second in which it was added")
	}
	if ClusterID([]uint64{1, 2}) != ClusterID([]uint64{2, 1}) || ClusterID([]uint64{1, 2}) == ClusterID([]uint64{1, 3}) {
		t.Error("the cluster id depends on the set of members")
	}
}

func TestReservedIDs(t *testing.T) {
	for id, want := range map[uint64]bool{0: false, 1: true, math.MaxUint64: false, math.MaxUint64 - 1: false, math.MaxUint64 - 2: true} {
		if validID(id) != want {
			t.Errorf("validID(%x) = %v", id, !want)
		}
		err := checkMembers([]state.Member{{ID: id, Name: "n"}})
		if (err == nil) != want {
			t.Errorf("checkMembers with id %x: %v", id, err)
		}
	}
}

func TestParseInitialCluster(t *testing.T) {
	for text, want := range map[string]map[string][]string{
		"n1=http://a:2380": {"n1": {"http://a:2380"}},
		"n1=http://a:2380,n2=http://b:2380,n3=https://[::1]:1":         {"n1": {"http://a:2380"}, "n2": {"http://b:2380"}, "n3": {"https://[::1]:1"}},
		"n1=http://b:2380,n1=http://a:2380":                            {"n1": {"http://a:2380", "http://b:2380"}},
		" n1=HTTP://A.Example:2380 , n2=http://b:1 ,":                  {"n1": {"http://a.example:2380"}, "n2": {"http://b:1"}},
		"1=http://a:1,2=http://a:2,3=http://a:3,4=http://a:4":          {"1": {"http://a:1"}, "2": {"http://a:2"}, "3": {"http://a:3"}, "4": {"http://a:4"}},
		"etcd-0.x=http://etcd-0.x.svc.cluster.local:2380,b=http://b:1": {"etcd-0.x": {"http://etcd-0.x.svc.cluster.local:2380"}, "b": {"http://b:1"}},
	} {
		got, err := ParseInitialCluster(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestParseInitialClusterSaysWhatToDo(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "list all members as name=http://host:port",
		" , ":                                  "list all members as name=http://host:port",
		"http://a:1":                           "write name=http://host:port, not \"http://a:1\"",
		"=http://a:1":                          "without a name",
		"n1=":                                  `member "n1": bad URL "": write http://host:port`,
		"n1=a:2380":                            "write http://host:port or https://host:port",
		"n1=unix://a:1":                        "write http://host:port or https://host:port",
		"n1=http://a":                          `the form "host:port"`,
		"n1=http://:2380":                      `the form "host:port"`,
		"n1=http://a:":                         `the form "host:port"`,
		"n1=http://a:0":                        "from 1 to 65535",
		"n1=http://a:65536":                    "from 1 to 65535",
		"n1=http://a:http":                     "write http",
		"n1=http://a:1/":                       "must not contain a path",
		"n1=http://a:1?x=y":                    "nothing but",
		"n1=http://u:p@a:1":                    "nothing but",
		"n1=http://a:1,n2=http://a:1":          `http://a:1 is listed for "n1" and for "n2"`,
		"n1=http://a:1,n1=http://A:1":          `http://a:1 is listed for "n1" and for "n1"`,
		"n1=http://a:1,n2=http://b:2,n3=wrong": `member "n3"`,
	} {
		got, err := ParseInitialCluster(text)
		if err == nil {
			t.Errorf("%q: accepted as %v", text, got)
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v\nwant it to say: %s", text, err, want)
		}
	}
}

func TestParseURLs(t *testing.T) {
	got, err := ParseURLs("https://b:2, http://a:1")
	if err != nil || !slices.Equal(got, []string{"http://a:1", "https://b:2"}) {
		t.Errorf("= %v, %v", got, err)
	}
	for _, list := range []string{"", " ", "http://a:1,", "http://a:1,http://a:1", "a"} {
		if got, err := ParseURLs(list); err == nil {
			t.Errorf("%q: accepted as %v", list, got)
		}
	}
}

// flagsOf describes a cluster of n members as member i of it sees it.
func flagsOf(n, i int) Flags {
	var entries []string
	for k := range n {
		entries = append(entries, fmt.Sprintf("n%d=http://10.0.0.%d:2380", k, k))
	}
	return Flags{
		Name: fmt.Sprintf("n%d", i), InitialCluster: strings.Join(entries, ","), InitialClusterToken: "token",
		InitialAdvertisePeerURLs: fmt.Sprintf("http://10.0.0.%d:2380", i),
		AdvertiseClientURLs:      fmt.Sprintf("http://10.0.0.%d:2379", i),
	}
}

func TestFoundingAgreesAcrossMembers(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		first, err := Found(flagsOf(n, 0))
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[uint64]bool)
		for i := range n {
			f, err := Found(flagsOf(n, i))
			if err != nil {
				t.Fatalf("size %d, member %d: %v", n, i, err)
			}
			again, err := Found(flagsOf(n, i))
			if d := cmp.Diff(f, again); d != "" || err != nil {
				t.Errorf("not the same at the next start: %v %s", err, d)
			}
			if f.ClusterID != first.ClusterID || !slices.EqualFunc(f.Members, first.Members, func(a, b state.Member) bool { return a.ID == b.ID && slices.Equal(a.PeerURLs, b.PeerURLs) }) {
				t.Errorf("size %d, member %d sees another cluster", n, i)
			}
			if f.Self.Name != fmt.Sprintf("n%d", i) || len(f.Self.ClientURLs) != 1 || seen[f.Self.ID] {
				t.Errorf("size %d: self = %+v", n, f.Self)
			}
			seen[f.Self.ID] = true
			if m := state.NewMembership(f.Members); len(m.Voters()) != n || m.Learners() != nil {
				t.Errorf("size %d: %+v", n, m)
			}
		}
		other := flagsOf(n, 0)
		other.InitialClusterToken = "other"
		if f, err := Found(other); err != nil || f.ClusterID == first.ClusterID || f.Self.ID == first.Self.ID {
			t.Errorf("size %d: the token does not matter: %v", n, err)
		}
	}
}

func TestFoundingAlone(t *testing.T) {
	f, err := Found(Flags{Name: DefaultName, InitialClusterToken: DefaultToken, InitialAdvertisePeerURLs: DefaultPeerURL})
	if err != nil || hex(f.ClusterID) != "cdf818194e3a8c32" || f.Self.ClientURLs != nil {
		t.Errorf("= %+v, %v", f, err)
	}
}

func TestFoundingRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Flags)
		want   string
	}{
		{"self missing", func(f *Flags) { f.Name = "n9" }, `couldn't find --name="n9" among ["n0" "n1" "n2"]; start it with one of these names, or add n9=http://10.0.0.0:2380`},
		{"other URL", func(f *Flags) { f.InitialAdvertisePeerURLs = "http://10.0.0.9:2380" }, "--initial-cluster has n0=http://10.0.0.0:2380, but --initial-advertise-peer-urls=http://10.0.0.9:2380; make them equal"},
		{"more URLs", func(f *Flags) { f.InitialAdvertisePeerURLs += ",http://10.0.0.9:2380" }, "make them equal"},
		{"no advertised URL", func(f *Flags) { f.InitialAdvertisePeerURLs = "" }, "--initial-advertise-peer-urls: expected at least one URL"},
		{"bad cluster", func(f *Flags) { f.InitialCluster = "n0" }, "--initial-cluster"},
		{"bad client URL", func(f *Flags) { f.AdvertiseClientURLs = "10.0.0.1" }, "--advertise-client-urls: bad URL"},
		{"unresolved", func(f *Flags) {
			f.InitialAdvertisePeerURLs = "http://n0.example:2380"
			f.Resolve = func(string) ([]string, error) { return nil, fmt.Errorf("no such host") }
		}, "no such host); make them equal"},
		{"resolves elsewhere", func(f *Flags) {
			f.InitialAdvertisePeerURLs = "http://n0.example:2380"
			f.Resolve = func(host string) ([]string, error) { return []string{"for " + host}, nil }
		}, "make them equal"},
		{"resolves to nothing", func(f *Flags) {
			f.InitialAdvertisePeerURLs = "http://n0.example:2380"
			f.Resolve = func(string) ([]string, error) { return nil, nil }
		}, "no address"},
	} {
		f := flagsOf(3, 0)
		c.change(&f)
		got, err := Found(f)
		if err == nil {
			t.Errorf("%s: accepted as %+v", c.name, got)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v\nwant it to say: %s", c.name, err, c.want)
		}
	}
}

func TestFoundingComparesResolvedAddresses(t *testing.T) {
	f := flagsOf(3, 1)
	f.InitialAdvertisePeerURLs = "http://n1.example:2380"
	f.Resolve = func(host string) ([]string, error) {
		if host == "n1.example" {
			return []string{"10.0.0.7", "10.0.0.1"}, nil
		}
		return []string{host}, nil
	}
	got, err := Found(f)
	if err != nil {
		t.Fatal(err)
	}
	// What counts is what is written in --initial-cluster: all members have that.
	if want, _ := Found(flagsOf(3, 1)); got.Self.ID != want.Self.ID {
		t.Errorf("id = %x, want %x", got.Self.ID, want.Self.ID)
	}
}

func TestCheckMembers(t *testing.T) {
	a := state.Member{ID: 3, Name: "a", PeerURLs: []string{"http://a:1"}}
	for name, bad := range map[string]state.Member{
		"same URL": {ID: 9, Name: "x", PeerURLs: []string{"http://a:1"}},
		"no id":    {Name: "x"},
		"same id":  {ID: 3, Name: "x"},
	} {
		if err := checkMembers([]state.Member{a, bad}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := checkMembers([]state.Member{a, {ID: 4}}); err != nil {
		t.Error(err)
	}
}

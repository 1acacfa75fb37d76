package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Network joins members, each on a machine of its own as far as the network goes, by a switch whose cables can be pulled.
//
// # Idea
//
// Each member has a network namespace, the switch has another one, and a pair of virtual interfaces is a cable. The test
// itself stays outside: it enters a member's namespace with a thread, only to start a process or to make a socket, which then
// stays there.
//
// # Invariants
//
// Nothing is seen of it on the machine, and nothing is left behind: no namespace has a name, so the kernel removes each,
// and the interfaces in it, when the descriptors of the test and the processes in it are gone. They go with the
// test, however it ends: the members are killed when it dies.
type Network struct {
	t     testing.TB
	hub   *namespace
	sites map[*Member]*site
}

// site is a member's end of the network. It is a place.
type site struct {
	*namespace
	// port is the name of the switch's end of the cable.
	port string
	// deaf and mute say in which direction the cable loses everything.
	deaf, mute bool
}

// The ports that members listen on, each at an address of its own.
const (
	siteAddress   = "10.0.0.%d"
	siteClient    = "2379"
	sitePeer      = "2380"
	siteZooKeeper = "2181"
)

// NewNetwork makes n members as NewCluster does, each in a network namespace of its own. It skips the test where there are none
// to be had, or fails it if the environment says that there must be.
func NewNetwork(t testing.TB, tools Tools, n int, flags ...string) (*Network, *Cluster) {
	t.Helper()
	network, c := &Network{t: t, sites: make(map[*Member]*site)}, &Cluster{}
	t.Cleanup(network.close)
	for i := range n {
		m := &Member{}
		if err := network.join(m, i+1); err != nil {
			skipFor(t, EnvRequireNetns, fmt.Sprintf("no network namespaces: %v; they take root, and ip (apt-get install iproute2)", err))
		}
		c.Members = append(c.Members, m)
	}
	c.form(t, tools, flags)
	return network, c
}

// join makes the namespace of the member with that number and its cable, and the switch before them, and gives the member
// its addresses.
func (n *Network) join(m *Member, number int) error {
	if n.hub == nil {
		if err := n.addHub(); err != nil {
			return err
		}
	}
	space, err := newNamespace()
	if err != nil {
		return err
	}
	s := &site{namespace: space, port: fmt.Sprintf("port%d", number)}
	n.sites[m] = s
	address := fmt.Sprintf(siteAddress, number)
	m.place = s
	m.Client, m.Peer = net.JoinHostPort(address, siteClient), net.JoinHostPort(address, sitePeer)
	m.ZooKeeper = net.JoinHostPort(address, siteZooKeeper)
	if err := n.hub.ip("link add "+s.port+" type veth peer name eth0 netns "+space.path(), "link set "+s.port+" master hub up"); err != nil {
		return err
	}
	return space.ip("address add "+address+"/24 dev eth0", "link set lo up", "link set eth0 up")
}

// addHub makes the switch.
func (n *Network) addHub() (err error) {
	if n.hub, err = newNamespace(); err != nil {
		return err
	}
	return n.hub.ip("link add hub type bridge", "link set hub up")
}

// close drops all that holds the namespaces but the processes in them.
func (n *Network) close() {
	if n.hub != nil {
		n.hub.close()
	}
	for _, s := range n.sites {
		s.close()
	}
}

// Cut pulls a member's cable: what it sends to other members is lost, as is what they send. Processes beside it still reach it.
func (n *Network) Cut(m *Member) {
	n.t.Helper()
	n.set(m, "down")
}

// Deafen makes a member's cable lose all that is sent to the member; what it sends itself gets through.
func (n *Network) Deafen(m *Member) {
	n.t.Helper()
	n.sites[m].deaf = true
	n.must(n.hub.run("tc", "qdisc replace dev "+n.sites[m].port+loseAll))
}

// Mute makes a member's cable lose all that the member sends; what is sent to it gets through.
func (n *Network) Mute(m *Member) {
	n.t.Helper()
	n.sites[m].mute = true
	n.must(n.sites[m].run("tc", "qdisc replace dev eth0"+loseAll))
}

// loseAll is a queue with room for nothing.
const loseAll = " root pfifo limit 0"

// Heal plugs a member's cable in again and makes it lose nothing.
func (n *Network) Heal(m *Member) {
	n.t.Helper()
	s := n.sites[m]
	if s.deaf {
		n.must(n.hub.run("tc", "qdisc del dev "+s.port+" root"))
	}
	if s.mute {
		n.must(s.run("tc", "qdisc del dev eth0 root"))
	}
	s.deaf, s.mute = false, false
	n.set(m, "up")
}

func (n *Network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// set sets the switch's end of a member's cable.
func (n *Network) set(m *Member, state string) {
	n.t.Helper()
	n.must(n.hub.ip("link set " + n.sites[m].port + " " + state))
}

// namespace is a network namespace without a name. It lives as long as its file is open or a process is in it.
type namespace struct {
	// home is the namespace of the test, inside the one without a name.
	home, inside *os.File
}

// newNamespace makes an empty namespace.
func newNamespace() (*namespace, error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	s := &namespace{home: home}
	err = s.away(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		s.inside, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return s, nil
}

// within runs fn in the namespace. fn must start no goroutine whose namespace matters.
func (s *namespace) within(fn func() error) error {
	return s.away(func() error { return unix.Setns(int(s.inside.Fd()), unix.CLONE_NEWNET) }, fn)
}

// away runs fn on a thread that leave has moved to another namespace, and moves it back. A thread that cannot return stays
// locked, so that nothing else runs on it: it ends with the goroutine.
func (s *namespace) away(leave, fn func() error) error {
	runtime.LockOSThread()
	if err := leave(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err := fn()
	if back := unix.Setns(int(s.home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("return to the network of the machine: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// path names the namespace for other processes, while the test runs.
func (s *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.inside.Fd()) }

// ip runs the tool of that name in the namespace, once for each line of arguments, until one fails.
func (s *namespace) ip(lines ...string) error { return s.run("ip", lines...) }

// run runs a tool in the namespace, once for each line of arguments, until one fails.
func (s *namespace) run(tool string, lines ...string) error {
	for _, line := range lines {
		err := s.within(func() error {
			out, err := exec.Command(tool, strings.Fields(line)...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s %s: %w: %s", tool, line, err, out)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// start implements place. The process dies with the thread that starts it, which lives as long as the test: Go ends no thread
// but one that is locked when its goroutine ends.
func (s *namespace) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return s.within(cmd.Start)
}

// dial implements place. A numeric address needs no look-up, so the socket is made by the goroutine that calls.
func (s *namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = s.within(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (s *namespace) close() {
	_ = s.home.Close()
	_ = s.inside.Close() // of no use if there is none
}

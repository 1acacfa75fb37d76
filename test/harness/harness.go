// Package harness runs okapi as its users do: as processes, with unchanged clients. Tests of
// several kinds share it; none of them reaches into a process except through its doors and its
// signals.
package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// The environment variables that steer the tests.
const (
	// EnvRequireClients makes a missing client a failure; otherwise the test is skipped.
	EnvRequireClients = "OKAPI_REQUIRE_CLIENTS"
	// EnvRequireNetns makes it a failure that this machine has no network namespaces to give; otherwise the test is skipped.
	EnvRequireNetns = "OKAPI_REQUIRE_NETNS"
	// EnvBinary names a built okapi; otherwise it is built from the sources.
	EnvBinary = "OKAPI_BINARY"
	// EnvEtcd names an etcd; otherwise the one pinned in etcdserver/go.mod is built.
	EnvEtcd = "OKAPI_ETCD"
	// EnvEtcdctl names an etcdctl; otherwise the one pinned in go.mod is built.
	EnvEtcdctl = "OKAPI_ETCDCTL"
	// EnvZKCli names a zkCli.sh; otherwise it is looked for in PATH and where Debian puts it.
	EnvZKCli = "OKAPI_ZKCLI"
)

// Tools are the programs that the tests run.
type Tools struct {
	// Okapi is the server.
	Okapi string
	// Etcd is the real etcd, the oracle; "" if there is none, and then MissingEtcd says why.
	Etcd, MissingEtcd string
	// Etcdctl and ZKCli are the clients; "" if there is none, and then MissingEtcdctl or
	// MissingZKCli says why.
	Etcdctl, ZKCli               string
	MissingEtcdctl, MissingZKCli string
}

// debianZKCli is where Debian's package zookeeper has the client.
const debianZKCli = "/usr/share/zookeeper/bin/zkCli.sh"

// Prepare builds the server, and finds or builds the clients, in the folder dir. It is called
// from a folder of this module. A missing client is no error.
func Prepare(dir string) (Tools, error) {
	var tools Tools
	var err error
	if tools.Okapi, err = okapi(dir); err != nil {
		return Tools{}, err
	}
	if tools.Etcd, err = etcd(dir); err != nil {
		tools.MissingEtcd = err.Error()
	}
	if tools.Etcdctl, err = etcdctl(dir); err != nil {
		tools.MissingEtcdctl = err.Error()
	}
	if tools.ZKCli, err = zkCli(); err != nil {
		tools.MissingZKCli = err.Error()
	}
	return tools, nil
}

// PrepareServer builds the server alone, for tests whose clients are libraries.
func PrepareServer(dir string) (Tools, error) {
	binary, err := okapi(dir)
	return Tools{Okapi: binary}, err
}

// PrepareOracle builds the server and the real etcd, for tests that compare the two through
// libraries. A missing etcd is no error.
func PrepareOracle(dir string) (Tools, error) {
	tools, err := PrepareServer(dir)
	if err != nil {
		return Tools{}, err
	}
	if tools.Etcd, err = etcd(dir); err != nil {
		tools.MissingEtcd = err.Error()
	}
	return tools, nil
}

func okapi(dir string) (string, error) {
	if name := os.Getenv(EnvBinary); name != "" {
		return filepath.Abs(name)
	}
	root, err := ProjectRoot()
	if err != nil {
		return "", err
	}
	return BuildOkapi(root, filepath.Join(dir, "okapi"))
}

// BuildOkapi builds the server from the sources in a folder into a file, with more flags for "go build", and returns the file.
func BuildOkapi(sources, to string, flags ...string) (string, error) {
	return build(sources, to, "./cmd/okapi", flags...)
}

// Etcdutl builds etcd's tool for files, of the version of etcd itself, in the folder dir.
func Etcdutl(dir string) (string, error) {
	root, err := ProjectRoot()
	if err != nil {
		return "", err
	}
	return build(filepath.Join(root, "test", "etcdserver"), filepath.Join(dir, "etcdutl"), "go.etcd.io/etcd/etcdutl/v3")
}

// etcd builds the module in which etcd is pinned: its dependencies are kept out of this one.
func etcd(dir string) (string, error) {
	if name := os.Getenv(EnvEtcd); name != "" {
		return filepath.Abs(name)
	}
	root, err := ProjectRoot()
	if err != nil {
		return "", err
	}
	return build(filepath.Join(root, "test", "etcdserver"), filepath.Join(dir, "etcd"), ".")
}

func etcdctl(dir string) (string, error) {
	if name := os.Getenv(EnvEtcdctl); name != "" {
		return exec.LookPath(name)
	}
	return build(".", filepath.Join(dir, "etcdctl"), "go.etcd.io/etcd/etcdctl/v3")
}

func zkCli() (string, error) {
	if name := os.Getenv(EnvZKCli); name != "" {
		return exec.LookPath(name)
	}
	name, err := exec.LookPath("zkCli.sh")
	if err != nil {
		name, err = exec.LookPath(debianZKCli)
	}
	if err != nil {
		return "", fmt.Errorf("no zkCli.sh in PATH, nor %s: apt-get install zookeeper", debianZKCli)
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("%s is here, but no java to run it", name)
	}
	return name, nil
}

func build(from, to, pkg string, flags ...string) (string, error) {
	cmd := exec.Command("go", slices.Concat([]string{"build"}, flags, []string{"-o", to, pkg})...)
	cmd.Dir = from
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return to, nil
}

// ProjectRoot finds the folder of the product's module: the nearest one above that has cmd/okapi.
func ProjectRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "okapi")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no folder above has cmd/okapi: run the tests inside the project")
		}
		dir = parent
	}
}

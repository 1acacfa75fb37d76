// Package scenarios says what etcd's Go client can do with a server, each scenario on keys of its own. The
// same scenarios run against the real etcd, which proves them, and against okapi.
package scenarios

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Scenario is one use of the client.
type Scenario struct {
	Name string
	// Run uses the client and fails the test where the server does not do its part.
	Run func(*User)
}

// All returns every scenario.
func All() []Scenario {
	return slices.Concat(kvScenarios(), txnScenarios(), leaseScenarios(), watchScenarios(), concurrencyScenarios(), memberScenarios())
}

// RunAll plays every scenario with the server at endpoint (host:port), each as a test of its own.
func RunAll(t *testing.T, endpoint string) {
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) { s.Run(NewUser(t, endpoint, s.Name)) })
	}
}

// scenarioTimeout bounds one scenario.
const scenarioTimeout = 60 * time.Second

// User is who plays a scenario: a client, and keys that nobody else uses.
type User struct {
	testing.TB
	*clientv3.Client
	// Ctx ends when the scenario has taken too long.
	Ctx context.Context
	// endpoint is the server's address.
	endpoint string
	prefix   string
}

// NewUser connects to the server at endpoint (host:port). name keeps the keys of scenarios apart. The
// connection is closed when the test ends.
func NewUser(t testing.TB, endpoint, name string) *User {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), scenarioTimeout)
	t.Cleanup(cancel)
	u := &User{TB: t, Ctx: ctx, endpoint: endpoint, prefix: name + "/"}
	u.Client = u.dial()
	return u
}

// dial makes another client of the same server.
func (u *User) dial() *clientv3.Client {
	u.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{u.endpoint}, DialTimeout: scenarioTimeout, Logger: zap.NewNop()})
	if err != nil {
		u.Fatalf("make a client of %s: %v", u.endpoint, err)
	}
	u.Cleanup(func() { _ = client.Close() })
	return client
}

// key is a key of the scenario.
func (u *User) key(name string) string { return u.prefix + name }

// ok fails the test if a call that must succeed has not.
func (u *User) ok(err error) {
	u.Helper()
	if err != nil {
		u.Fatalf("unexpected error: %v", err)
	}
}

// refused fails the test unless a call was refused as etcd refuses it.
func (u *User) refused(err, want error) {
	u.Helper()
	if !errors.Is(err, want) {
		u.Fatalf("the error is %v, want %v", err, want)
	}
}

// same fails the test unless two values print the same.
func (u *User) same(what string, got, want any) {
	u.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		u.Fatalf("%s is %s, want %s", what, g, w)
	}
}

// put writes a key and returns the revision.
func (u *User) put(name, value string, options ...clientv3.OpOption) int64 {
	u.Helper()
	response, err := u.Put(u.Ctx, u.key(name), value, options...)
	u.ok(err)
	return response.Header.Revision
}

// get reads and returns the answer.
func (u *User) get(name string, options ...clientv3.OpOption) *clientv3.GetResponse {
	u.Helper()
	response, err := u.Get(u.Ctx, u.key(name), options...)
	u.ok(err)
	return response
}

// pairs is key-values as "name=value", without the scenario's prefix.
func (u *User) pairs(kvs []*mvccpb.KeyValue) string {
	var out []string
	for _, kv := range kvs {
		out = append(out, strings.TrimPrefix(string(kv.Key), u.prefix)+"="+string(kv.Value))
	}
	return strings.Join(out, " ")
}

// names is the names of key-values, without the scenario's prefix.
func (u *User) names(kvs []*mvccpb.KeyValue) string {
	var out []string
	for _, kv := range kvs {
		out = append(out, strings.TrimPrefix(string(kv.Key), u.prefix))
	}
	return strings.Join(out, " ")
}

// receive takes the next element of a channel, and fails the test if none comes.
func receive[T any](u *User, what string, from <-chan T) (got T) {
	u.Helper()
	var open bool
	select {
	case got, open = <-from:
		if !open {
			u.Fatalf("%s: the channel was closed", what)
		}
	case <-u.Ctx.Done():
		u.Fatalf("%s: nothing came", what)
	}
	return got
}

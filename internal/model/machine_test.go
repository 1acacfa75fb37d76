package model

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// mixes are the families of scripts.
func mixes() []mix {
	onKeys := command.Settings{TreePrefix: "/zk", TreeHistory: 60_000, ExtendedTypes: true}
	plainZooKeeper := onKeys
	plainZooKeeper.ExtendedTypes = false
	open := onKeys
	open.SkipACL = true
	noKeys := command.Settings{TreeHistory: 60_000, ExtendedTypes: true}
	return []mix{
		{name: "etcd", settings: onKeys, etcd: 90, znode: 3, session: 6, upkeep: 2, inTree: 8, lists: 0},
		{name: "zookeeper", settings: plainZooKeeper, etcd: 1, znode: 90, session: 6, upkeep: 3, inTree: 50, lists: 10},
		{name: "mixed on one tree", settings: onKeys, etcd: 45, znode: 45, session: 6, upkeep: 4, inTree: 90, lists: 4},
		{name: "sessions and leases", settings: open, etcd: 25, znode: 30, session: 40, upkeep: 3, inTree: 50, lists: 2},
		{name: "access lists", settings: onKeys, etcd: 40, znode: 50, session: 6, upkeep: 4, inTree: 80, lists: 35},
		{name: "tree without keys", settings: noKeys, etcd: 30, znode: 60, session: 8, upkeep: 4, lists: 5},
	}
}

// TestSpine3 gives machine and model the same entries, and compares every result, event and lease
// change, and reads of the present and the past. OKAPI_MODEL_SEED=n draws other scripts.
func TestSpine3(t *testing.T) {
	commands := 100_000
	if testing.Short() {
		commands = 5_000
	}
	first := uint64(1)
	if s := os.Getenv("OKAPI_MODEL_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first = n
	}
	for i, mix := range mixes() {
		t.Run(mix.name, func(t *testing.T) { spine3(t, mix, first+uint64(i), commands) })
	}
}

// firstEntry is the one that every script begins with. What comes before the settings is refused.
func firstEntry(mix mix) entry {
	return entry{term: 1, timeMS: 1_000_000, reads: 1, commands: []scripted{
		{proposal: command.Proposal{Caller: command.Caller{Protocol: command.Etcd}, Command: &command.Put{Key: "a"}}},
		{proposal: command.Proposal{Caller: command.Caller{Protocol: command.ZooKeeper}, Command: &command.OpenSession{ID: 1}}},
		{proposal: command.Proposal{Command: &command.Bootstrap{Settings: mix.settings}}},
	}}
}

func spine3(t *testing.T, mix mix, seed uint64, commands int) {
	p := newPlayer()
	g := &generator{r: rand.New(rand.NewPCG(seed, 3)), model: p.model, mix: mix}
	script := []entry{firstEntry(mix)}
	for done := 0; ; {
		e := &script[len(script)-1]
		if diff := p.play(e); diff != "" {
			report(t, mix.name, seed, script, &difference{len(script) - 1, diff})
		}
		if done += len(e.commands); done > commands {
			break
		}
		script = append(script, g.entry(e, commands+1-done))
	}
	t.Logf("seed %d", seed)
	fmt.Printf("spine-3: %s: %d commands, 0 differences\n", mix.name, commands)
}

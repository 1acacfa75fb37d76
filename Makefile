# Every job of CI is a target here and runs the same on a desk. "make" lists them.

SHELL := /bin/bash
GO    ?= go
# make sim SEEDS=500 runs seeds 1 to 500; make sim SEED=42 runs one, to replay it.
SEEDS ?= 200
SEED  ?=
# make show-etcd-2 OPS=5000 SEED=7 begins with another seed.
OPS ?= 100000
# make show-cluster-1 FAULTS=500 SEED=7 makes more faults, of another seed.
FAULTS ?= 50
# make show-cluster-2 KEYS=1000000 lets members that are added catch up with more.
KEYS ?= 200000
# make mutants ONLY=lease-reads runs one; SEEDS=1000 lets the simulator take more seeds for each, REPEAT=1 looks for each once.
ONLY   ?=
REPEAT ?= 3
# make fuzz FUZZTIME=10m: how long each fuzz test runs.
FUZZTIME ?= 30s
# make bench-compare ROUNDS=1 JSON=figures.json: one round only, and the figures for scripts too.
ROUNDS ?= 5
# MINUTES bounds make robustness.
MINUTES ?= 10
JSON   ?=

.PHONY: help build test race lint tidy sim robustness mutants fuzz pgo conformance bench bench-doors bench-leases bench-compare cover generate cluster ci clean \
	show-spine-1 show-spine-2 show-spine-3 show-spine-4 show-spine-5 show-spine-6 \
	show-etcd-1 show-etcd-2 show-etcd-3 show-etcd-4 show-etcd-5 \
	show-zk-1 show-zk-2 show-zk-3 show-zk-4 show-zk-5 show-zk-6 \
	show-cluster-1 show-cluster-2 show-cluster-3 show-cluster-4 show-cluster-5 \
	show-proof-1 show-proof-2 show-proof-3 show-proof-4 show-upgrade

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the server into bin/okapi
	$(GO) build -o bin/okapi ./cmd/okapi

test: ## run the tests, as the README does
	$(GO) test ./...

race: ## run the tests of the concurrent packages under the race detector
	dev/race

lint: ## vet every module
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	cd test/etcdserver && $(GO) vet ./...
	cd test/scenarios && $(GO) vet ./...

tidy: ## check the project's rules: imports, purity, lengths, docs, links
	$(GO) test ./internal/tidy -count=1

sim: ## simulate whole clusters: SEEDS=n many runs, or SEED=n one of them again
	dev/show TestSeeds ./internal/sim -- $(if $(SEED),-sim.seed=$(SEED),-sim.seeds=$(SEEDS))

mutants: ## break the product on purpose, in test/mutants and in the simulator, and see each caught: ONLY=name for one
	dev/show TestMutants ./internal/mutants -- -mutants.run -mutants.only='$(ONLY)' -mutants.repeat=$(REPEAT) \
		$(if $(filter command line,$(origin SEEDS)),-mutants.seeds=$(SEEDS))

fuzz: ## run every fuzz test for FUZZTIME each
	dev/fuzz $(FUZZTIME)

conformance: ## run okapi with etcdctl and zkCli.sh (skipped where they are missing)
	cd test && $(GO) test -count=1 -v ./...

bench: ## run the benchmarks beside the code
	$(GO) test -run '^$$' -bench . -benchmem ./internal/...

bench-doors: ## what requests cost servers, through both doors, alone and as three members
	OKAPI_BENCH=1 dev/show TestDoors ./bench

bench-leases: ## what 100,000 leases cost: granted, kept alive and expiring at once while clients put
	OKAPI_BENCH=1 dev/show TestLeases ./bench

bench-compare: ## the same requests to okapi, etcd and ZooKeeper, three members each, ROUNDS times in turn
	OKAPI_BENCH=1 dev/show TestCompare ./bench -- -compare.rounds=$(ROUNDS) $(if $(JSON),-compare.json=$(abspath $(JSON)))

cover: ## show the coverage of the core, at least 90 %
	dev/cover 90

generate: ## write generated files anew: golden bytes stay, docs change
	$(GO) generate ./...

cluster: ## run three members on this machine until Ctrl-C
	dev/cluster

ci: ## do what CI does
	.ci/run

clean: ## remove what the targets leave behind
	rm -rf bin okapi okapi.data cluster.data coverage.*

show-spine-1: ## the two README commands on a clean clone; both clients on one server, killed in between
	dev/clean-clone
	cd test && OKAPI_REQUIRE_CLIENTS=1 ../dev/show TestSpine1 ./conformance

show-spine-2: ## three processes: every write read through every member and door, kills survived
	cd test && OKAPI_REQUIRE_CLIENTS=1 ../dev/show TestSpine2 ./conformance

show-spine-3: ## model against machine, 100,000 commands a mix; coverage of the core
	dev/show TestSpine3 ./internal/model
	dev/cover 90

show-spine-4: ## 2,000 simulated seeds without violation, and every planted bug caught
	dev/show TestSeeds ./internal/sim -- -sim.seeds=2000
	dev/show TestPlantedBugs ./internal/sim

show-spine-5: ## log and snapshots: every failing operation, crash point and flipped bit
	dev/show 'TestEvery.*' ./internal/wal ./internal/snapshot

show-spine-6: ## benchmarks against their targets, and the memory of a million keys
	$(GO) test -run '^$$' -bench . -benchmem ./internal/core/... ./internal/wal ./internal/zk/jute
	OKAPI_BENCH=1 dev/show TestSpine6 ./bench

show-etcd-1: ## etcd's clients and etcdctl, each scenario and command compared with what they do on etcd
	cd test && OKAPI_REQUIRE_CLIENTS=1 ../dev/show 'TestClient3.|TestEtcdctl|TestLeases|TestMaintenance|TestWatch.*' ./conformance

show-etcd-2: ## OPS random operations on okapi and on etcd, killed in between: every reply and event compared
	cd test && OKAPI_REQUIRE_CLIENTS=1 ../dev/show TestDifferential ./differential -- \
		-ops $(OPS) $(if $(SEED),-seed $(SEED))

show-etcd-3: ## what watches were told while members were killed, checked against etcd's promises
	cd test && ../dev/show TestWatchGuarantees ./robustness

show-etcd-4: ## 10,000 watches on one prefix and on distinct keys; 100,000 leases: what they cost
	OKAPI_BENCH=1 dev/show 'TestWatches|TestLeases' ./bench

show-etcd-5: ## bad input: what no client should send, and too much of it; memory bounded, others unhurt; then the fuzz tests of the etcd door
	cd test && ../dev/show TestBadInput ./robustness
	dev/fuzz 5s ./internal/etcd ./internal/etcd/rpc

show-zk-1: ## go-zookeeper, kazoo, the C client, Curator and zkCli.sh: the same at a real ZooKeeper and at okapi
	cd test && OKAPI_REQUIRE_CLIENTS=1 ../dev/show 'TestZKClient.*' ./conformance

show-zk-2: ## 200,000 random requests, and each trap, at a real ZooKeeper and at okapi: no difference
	cd test && OKAPI_REQUIRE_CLIENTS=1 ../dev/show 'TestTrap.*' ./zkdifferential
	cd test && OKAPI_REQUIRE_CLIENTS=1 ../dev/show TestRandom ./zkdifferential -- -zk.ops=200000

show-zk-3: ## a hundred sessions that pipeline, watch and move while members are killed: the order of all they are told
	cd test && ../dev/show TestOrder ./robustness

show-zk-4: ## 10,000 idle sessions and what one costs, 5,000 that end at once, and a leader killed with 3,000 of 9,000: none lost
	OKAPI_BENCH=1 dev/show TestZK4 ./bench

show-zk-5: ## a cut-off member's clients know before anybody else gets their lock
	cd test && OKAPI_REQUIRE_NETNS=1 ../dev/show TestCutOff ./robustness

show-zk-6: ## floods, garbage, clients that do not read, huge requests at the ZooKeeper port: memory, and a client beside them
	OKAPI_BENCH=1 dev/show TestZK6 ./bench

pgo: ## take anew the profile of the server under load that the compiler optimises after, cmd/okapi/default.pgo
	OKAPI_BENCH=1 dev/show TestProfile ./bench -- -profile.file=$(abspath cmd/okapi/default.pgo)

show-cluster-1: ## FAULTS faults under load through both doors: nothing lost, nothing stale, sessions and leases right; how long no write succeeds
	cd test && OKAPI_REQUIRE_NETNS=1 ../dev/show TestFaults ./robustness -- \
		-faults $(FAULTS) $(if $(SEED),-faults.seed $(SEED))

show-cluster-2: ## 1 to 3 to 5 to 3 members under load by "okapi member", one of them lost, and an observer: how long a write waits
	cd test && ../dev/show TestMembers ./robustness -- -members.keys $(KEYS)

show-cluster-3: ## a member that missed a million dropped entries of the log comes back by a snapshot while the others serve
	cd test && ../dev/show TestCatchUp ./robustness -- -catchup.entries 1000000 -catchup.clients 8

show-cluster-4: ## disks that are full, hang and fail: what clients see, what members say, nothing lost; then the same in the simulator
	cd test && OKAPI_REQUIRE_NETNS=1 ../dev/show TestDisks ./robustness
	dev/show 'TestFullDisks|TestHungDisk' ./internal/sim
	dev/show 'TestFullDisks|TestDiskErrorsStopTheMember' ./internal/replica

show-cluster-5: ## okapi beside etcd and ZooKeeper, three members each: rates, and processor time of servers a request, against their limits
	OKAPI_BENCH=1 dev/show TestCluster5 ./bench -- -compare.rounds=$(ROUNDS) $(if $(JSON),-compare.json=$(abspath $(JSON)))

robustness: ## break clusters of real processes for MINUTES, one after the other, and check all that their clients saw
	cd test && OKAPI_REQUIRE_NETNS=1 ../dev/show TestCampaign ./robustness -- \
		-campaign.minutes $(MINUTES) $(if $(SEED),-faults.seed $(SEED))

show-proof-1: ## ten thousand simulated clusters: no promise broken in any, and how fast that goes
	dev/show TestSeeds ./internal/sim -- -sim.seeds=10000

show-proof-2: ## every mutant caught by its checker, and from how many first seeds by which seed
	dev/show TestMutants ./internal/mutants -- -mutants.run -mutants.repeat=$(REPEAT)

show-proof-3: ## an hour of robustness: faults by kind, operations checked, violations, and how long no write succeeds
	$(MAKE) robustness MINUTES=60

show-proof-4: ## every region of every kind of file damaged: recovered, or refused with file and offset, and repaired
	dev/show TestDamagedDirectory ./internal/sim ./internal/server
	cd test && ../dev/show TestDamagedDirectory ./robustness

show-upgrade: ## the program of a cluster replaced under load, member by member: by one with a feature level more, and since the last release
	cd test && OKAPI_REQUIRE_CLIENTS=1 ../dev/show \
		'TestNextLevel$(if $(shell git describe --tags --abbrev=0 --match 'v*' 2>/dev/null),|TestLastRelease)' ./upgrade

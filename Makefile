# What there is to do with a clone. Each target works on Debian 12 with Rust, a C compiler, Python 3.11 and make.
#
#   make demo                              build, start a node, watch logs become alerts
#   make demo-cluster                      three nodes on this machine: one is killed, replaced, all are restarted
#   make test                              everything that must pass
#   make fmt / make docs                   format the sources / build the API documentation
#   make cases [CASES=<part of a name>]    inputs that broke similar systems, each against its right outcome
#   make chaos [CHAOS_MINUTES= CHAOS_SEED=] kill real processes, cut disks off, fill them up, and count what is left
#   make intake [INTAKE_SEED= INTAKE_MINUTES=]  random bodies and rotating files, the node killed under them: each line once
#   make doors [DOORS_SEED= DOORS_MINUTES=]  every door of a node under attack: no panic, memory within its bound, neighbours served
#   make unit [UNIT_OPTIONS=]              a hostile pack under the unit of a booted Debian: what each of its attempts gets
#   make simulate [SEEDS= FROM= SECONDS=]  three nodes on one thread, under as many seeds as wanted
#   make planted                           plant bugs one by one and see that the tests catch them
#   make bench [PACK= SAMPLES=]            figures, each beside its baseline
#   make bench-engine PACK= SAMPLES=       the rules engine beside panther_core, on one core
#   make bench-peers PEERS=<folder of scripts> DATA=<folder on a real disk>   beside etcd, RabbitMQ and NATS
#   make conformance PACK= SAMPLES=        compare with panther_core on a pack and on real records

CARGO  ?= cargo
PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
# The environment in which panther_core is compared with; nothing of it is shipped.
CORE   := .venv/conformance

# cargo-nextest runs test binaries side by side; without it cargo's own runner does the same, one binary after the other.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

SEEDS   ?= 1000
FROM    ?= 1
SECONDS ?= 30

.PHONY: demo demo-cluster test test-rust test-python fmt docs cases chaos intake doors unit simulate planted bench bench-engine bench-peers conformance
.DEFAULT_GOAL := test

demo:
	@echo "building pantherd and pantherctl (the first time this takes some minutes) ..."
	@$(CARGO) build --profile demo -p pantherd -p pantherctl
	@$(PYTHON) demo/run --bin $(TARGET)/demo

demo-cluster:
	@echo "building pantherd and pantherctl (the first time this takes some minutes) ..."
	@$(CARGO) build --profile demo -p pantherd -p pantherctl
	@$(PYTHON) demo/cluster --bin $(TARGET)/demo

test: test-rust test-python

ifeq ($(NEXTEST),yes)
test-rust:
	@$(CARGO) nextest run --workspace --status-level fail --final-status-level fail
	@$(CARGO) test --quiet --workspace --doc
else
test-rust:
	@$(CARGO) test --quiet --workspace
endif

test-python:
	@$(PYTHON) -m unittest discover --start-directory detections/python_tests
	@$(PYTHON) -m unittest discover --start-directory cases/harness/tests --top-level-directory cases
	@$(PYTHON) -m unittest discover --start-directory chaos-tests/intake/tests
	@$(PYTHON) -m unittest discover --start-directory chaos-tests/doors/tests
	@$(PYTHON) -m unittest discover --start-directory chaos-tests/unit/tests
	@$(PYTHON) -m unittest discover --start-directory cases/docs/tests
	@$(PYTHON) -m unittest discover --start-directory cases/structure/tests
	@$(PYTHON) chaos-tests/planted/run --check
	@$(PYTHON) chaos-tests/intake/run --bin $(TARGET)/debug --short
	@$(PYTHON) chaos-tests/doors/run --bin $(TARGET)/debug --short
	@$(PYTHON) cases/docs/run --bin $(TARGET)/debug --if-built

fmt:
	@$(CARGO) fmt --all

docs:
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --no-deps
	@echo "$(TARGET)/doc/panther_cluster/index.html"

# Needs openssl. A case that waits for a log type or stream form is named in cases/waiting.toml, with the reason.
cases:
	@$(CARGO) build --quiet --profile demo -p pantherd -p pantherctl
	@$(PYTHON) cases/run --bin $(TARGET)/demo $(if $(CASES),--only "$(CASES)")

# CHAOS_MINUTES bounds the crash loop and the power cuts, each; their 200 kills and 50 cuts need about 20 and 6. So long, too, are nodes of a cluster
# of three killed, held still, stopped, cut off, replaced, and their disks filled, frozen and cut, behind 50 kills of its leader and 50 hand-overs that are timed. CHAOS_SEED repeats a run.
# PACK and SAMPLES: as for conformance; CHAOS_PYTHON: a Python with what the pack imports. A fault that this machine cannot make is said.
CHAOS_MINUTES ?= 25
CHAOS_SEED    ?= $(shell date +%s)
CHAOS_PYTHON  ?= $(PYTHON)

chaos:
	@$(CARGO) build --quiet --profile demo -p pantherd -p pantherctl -p panther-chaos-tests
	@$(TARGET)/demo/chaos full-disk || [ $$? -eq 2 ]
	@$(TARGET)/demo/chaos three-nodes --seed $(CHAOS_SEED) --kills 50 --hand-overs 50 --restarts 3
	@$(TARGET)/demo/chaos three-nodes --seed $(CHAOS_SEED) --minutes $(CHAOS_MINUTES) --wires --disks || { [ $$? -eq 2 ] && $(TARGET)/demo/chaos three-nodes --seed $(CHAOS_SEED) --minutes $(CHAOS_MINUTES); }
	@$(CARGO) build --quiet --profile demo -p pantherd --features next-format --target-dir $(TARGET)/next
	@$(TARGET)/demo/chaos upgrade --next $(TARGET)/next/demo/pantherd
	@$(TARGET)/demo/chaos catch-up --megabytes 2000
	@$(TARGET)/demo/chaos power-cut --seed $(CHAOS_SEED) --minutes $(CHAOS_MINUTES) || [ $$? -eq 2 ]
	@$(TARGET)/demo/chaos crash-loop --seed $(CHAOS_SEED) --minutes $(CHAOS_MINUTES) --python "$(CHAOS_PYTHON)" \
	  $(if $(PACK),--pack "$(PACK)" --order-dependent AWS.SSM.DecryptSSMParams) $(if $(SAMPLES),--logs "$(SAMPLES)")

# The seed gives the bodies, the files and the kills; a failed run prints it, and leaves the folder of its node.
INTAKE_SEED    ?= $(shell date +%s)
INTAKE_MINUTES ?= 5

intake:
	@$(CARGO) build --quiet --profile demo -p pantherd -p pantherctl
	@$(PYTHON) chaos-tests/intake/run --bin $(TARGET)/demo --seed $(INTAKE_SEED) --minutes $(INTAKE_MINUTES)

# The seed gives the attacks; the minutes are those of the attacks, behind some scenarios of fixed length. A failed run leaves the folder of its nodes.
DOORS_SEED    ?= $(shell date +%s)
DOORS_MINUTES ?= 10

doors:
	@$(CARGO) build --quiet --profile demo -p pantherd -p pantherctl
	@$(PYTHON) chaos-tests/doors/run --bin $(TARGET)/demo --seed $(DOORS_SEED) --minutes $(DOORS_MINUTES)

# Needs root, debootstrap and systemd-container; exit code 2 says what is missing. UNIT_OPTIONS: --plain for a daemon without systemd, --tree FOLDER to keep the Debian.
UNIT_OPTIONS ?=

unit:
	@$(CARGO) build --quiet --profile demo -p pantherd -p pantherctl
	@$(PYTHON) chaos-tests/unit/run --bin $(TARGET)/demo $(UNIT_OPTIONS)

# A seed that fails is printed, with the command that repeats it.
simulate:
	@$(CARGO) build --quiet --profile demo -p panther-simulation
	@$(TARGET)/demo/simulate --seeds $(SEEDS) --from $(FROM) --seconds $(SECONDS)

# An hour: each bug is built and tested. Needs cargo-nextest.
planted:
	@$(PYTHON) chaos-tests/planted/run --rings 12FLSN3 --write docs/testing.md

bench: $(if $(PACK),$(CORE)/ready)
	@$(CARGO) build --profile demo -p pantherd -p pantherctl
	@$(PYTHON) bench/flow.py --bin $(TARGET)/demo $(if $(PACK),--pack "$(PACK)" --python $(CORE)/bin/python)
	@$(CARGO) bench --quiet -p panther-cluster --bench queue
	@$(if $(SAMPLES),SAMPLES="$(SAMPLES)") $(CARGO) bench --quiet -p panther-logs --bench parse
ifneq ($(and $(PACK),$(SAMPLES)),)
	@$(MAKE) --no-print-directory bench-engine
else
	@echo "rules engine left out: give PACK=<panther-analysis folder> SAMPLES=<folder of CloudTrail files>"
endif

# The rules engine beside panther_core, on one core.
bench-engine: $(CORE)/ready
	@test -n "$(PACK)" && test -n "$(SAMPLES)" || { echo "make bench-engine PACK=<panther-analysis folder> SAMPLES=<folder of CloudTrail files>"; exit 2; }
	@$(CARGO) bench --quiet --no-run -p panther-detections --bench engine
	@$(CORE)/bin/python detections/conformance/throughput.py --pack "$(abspath $(PACK))" --samples "$(SAMPLES)" --core-python "$$PWD/$(CORE)/bin/python" \
	  --bench $(CARGO) bench --quiet -p panther-detections --bench engine

# Three nodes of each on this machine, one contender after the other. Needs Debian's etcd-server etcd-client rabbitmq-server nats-server curl protobuf-compiler libprotobuf-dev eatmydata.
# A contender is started by PEERS/<name> start|stop|endpoints DIR.
bench-peers:
	@test -n "$(PEERS)" && test -n "$(DATA)" || { echo "make bench-peers PEERS=<folder of scripts> DATA=<folder on a real disk>"; exit 2; }
	@$(CARGO) build --quiet --profile demo -p pantherd -p pantherctl
	@$(CARGO) build --quiet --release --manifest-path bench/peers/Cargo.toml --target-dir $(TARGET)/peers
	@$(TARGET)/peers/release/bench-peers --scripts "$(PEERS)" --bin $(abspath $(TARGET))/demo --data "$(DATA)"

# EACH: how many changed events are made of each test event; 40 make ten million pairs of event and rule, and take half an hour.
EACH            ?= 3
MUTATIONS_SEED  ?= 1
# How long the engine is given events that mean harm.
HOSTILE_MINUTES ?= 5

# PACK: a checkout of panther-analysis. SAMPLES: a folder of CloudTrail files (*.json.gz); without it the pack's tests alone are compared,
# with it also the engine on the raw records, and a whole node fed with the files.
conformance: $(CORE)/ready
	@test -n "$(PACK)" || { echo "say which pack: make conformance PACK=<panther-analysis folder> [SAMPLES=<folder>]"; exit 2; }
	@$(CARGO) build --quiet --profile demo -p pantherd -p pantherctl
	@$(CORE)/bin/python detections/conformance/wall_time.py --pack "$(PACK)" --tool $(CORE)/bin/panther_analysis_tool --pantherctl $(TARGET)/demo/pantherctl --python $(CORE)/bin/python
	@said=$$(PANTHER_PACK="$(abspath $(PACK))" $(CARGO) test --quiet --release -p panther-detections --test it -- syntax 2>&1) || { echo "$$said"; exit 1; }
	@$(CORE)/bin/python detections/conformance/compare.py --pack "$(PACK)" --core-python $(CORE)/bin/python $(if $(SAMPLES),--samples "$(SAMPLES)")
	@$(TARGET)/demo/pantherctl detections compare "$(PACK)" --each 20 --seed $(MUTATIONS_SEED) --python $(CORE)/bin/python
	@PANTHER_PACK="$(abspath $(PACK))" PANTHER_PYTHON="$$PWD/$(CORE)/bin/python" MINUTES=$(HOSTILE_MINUTES) $(CARGO) run --quiet --release -p panther-detections --example hostile
	@$(CARGO) bench --quiet --no-run -p panther-detections --bench engine
	@$(CORE)/bin/python detections/conformance/mutations.py --pack "$(abspath $(PACK))" --core-python "$$PWD/$(CORE)/bin/python" --each $(EACH) --seed $(MUTATIONS_SEED) \
	  --bench $(CARGO) bench --quiet -p panther-detections --bench engine
ifneq ($(SAMPLES),)
	@$(CORE)/bin/python detections/conformance/end_to_end.py --pack "$(PACK)" --samples "$(SAMPLES)" --core-python $(CORE)/bin/python --bin $(TARGET)/demo
endif

# What the public pack imports beside the standard library stands behind panther_core and the tool.
$(CORE)/ready:
	@echo "making $(CORE) ..."
	@$(PYTHON) -m venv $(CORE)
	@$(CORE)/bin/python -m pip install --quiet panther_core==0.16.3 panther_analysis_tool==1.11.1 panther_detection_helpers==1.0.2 \
	  boto3 jsonlines policyuniverse pycountry python-dateutil PyYAML requests
	@touch $@

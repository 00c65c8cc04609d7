# The house's commands. `make help` lists them; everything that a fresh Debian lacks is installed by what needs it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TRIPLE := x86_64-unknown-linux-gnu
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# images hold nothing but one binary, so it carries its libc; only with --target, or procedural macros would be static too
STATIC := CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"

.PHONY: help check test e2e images demo demo-down fmt clippy unit doc deny arrows orphans generated netns cluster-lifecycle clean-cluster

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

check: fmt clippy unit doc deny arrows orphans ## what must hold before a commit: no root, no cluster
test: check netns ## check, and the network-namespace tests (root)

fmt:
	cargo fmt --all --check
clippy:
	cargo clippy --workspace --all-targets --features e2e/netns,e2e/cluster --locked -- -D warnings
unit: ## unit and in-process tests; they also hold generated files up to date (refresh: UPDATE_GOLDEN=1 make unit)
	cargo test --workspace --locked --quiet
doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet --document-private-items
deny: ## licences, bans, duplicate versions, sources
	cargo fetch --locked --quiet
	scripts/cargo-deny.sh --offline --all-features check --hide-inclusion-graph bans licenses sources
arrows: ## which crate may import which
	scripts/arrows.sh
orphans: ## every .rs file is in a module
	scripts/orphans.sh

netns: ## capture and data plane on real packets, in network namespaces
	scripts/netns-tests.sh

images: ## static binaries and image archives in target/images, without registry or daemon
	$(STATIC) cargo build --release --locked --target $(TRIPLE) -p outrigger-proxy -p init-iptables -p injector -p operator -p e2e --bins
	images/build.sh
e2e: ## the suite on a real cluster: kind where there is Docker, else the local one-node cluster
	e2e/run.sh
demo: ## the main job on a real cluster, shown on the terminal (CLUSTER=local|kind|current)
	scripts/demo.sh up
demo-down: ## removes all of it
	scripts/demo.sh down
cluster-lifecycle: ## the local cluster comes and goes without a trace, also when it is cut off (root; two to three minutes)
	e2e/cluster/lifecycle-test.sh
clean-cluster: ## takes the local cluster down
	e2e/cluster/down.sh

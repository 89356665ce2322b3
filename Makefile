# make demo    the product at work, with no domain and no network
# make test    everything CI runs
# make bench   semper beside nginx and haproxy: CPU per request
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One step of `make test`: says what it is and how long it took.
step = @printf '\n== %s\n' '$(1)'; from=$$(date +%s); $(2); printf '== %s: %s s\n' '$(1)' $$(( $$(date +%s) - from ))

.PHONY: kills sim fleet-paused help demo test deps nginx fmt clippy doc deny dockerfile doctest suite fuzz bench

help:
	@sed -n 's/^# make /make /p' Makefile

demo:
	cargo run -- demo

test: deps nginx fmt clippy doc deny dockerfile doctest suite

# What the tests need beside Rust. Installed here when run as root on Debian or Ubuntu, else named.
deps:
	$(call step,deps,bash tests/deps.sh)

# The nginx that semper is compared with: built once, kept in .cache.
nginx:
	$(call step,nginx 1.28,bash tests/nginx-build/build.sh)

fmt:
	$(call step,format,cargo fmt --check)

clippy:
	$(call step,clippy,cargo clippy --quiet --locked --all-targets -- -D warnings)

doc:
	$(call step,documentation,RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --no-deps)

deny:
	$(call step,licences and bans,cargo test --quiet --locked --test deny; if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; fi)

# hadolint on the Dockerfile; no container engine is needed.
dockerfile:
	$(call step,Dockerfile,bash tests/dockerfile.sh)

doctest:
	$(call step,documentation tests,cargo test --quiet --locked --doc)

# Unit tests, tidy, fuzz smoke, and everything that runs against real peers.
suite:
	$(call step,tests,SEMPER_TESTS_COMPLETE=1 cargo test --locked --lib --bins --tests)

# Coverage-guided fuzzing of one target, with cargo-fuzz (cargo install cargo-fuzz): make fuzz TARGET=h1 FOR=60
TARGET ?= conf
FOR ?= 60
fuzz:
	mkdir -p fuzz/corpus/$(TARGET)
	RUSTC_BOOTSTRAP=1 cargo fuzz run $(TARGET) fuzz/corpus/$(TARGET) fuzz/seeds/$(TARGET) -- -max_total_time=$(FOR)

# BENCH="--rounds 3 --seconds 2 --only h1-tls,h2" narrows it.
bench: nginx
	cargo bench --bench decide
	cargo bench --bench keepers
	cargo bench --bench fleet
	cargo bench --bench estate
	cargo bench --bench compare -- $(BENCH)

# kill -9 at random moments, the full number: KILLS=1000 make kills; SEMPER_SEED=n repeats a run.
KILLS ?= 200
kills:
	SEMPER_KILLS=$(KILLS) cargo test --locked --test storage_faults kills_ -- --nocapture

# Years of virtual time under every fault: SEEDS=100000 make sim; SEED=n repeats one run.
SEEDS ?= 300
sim:
	SEEDS=$(SEEDS) CARGO_PROFILE_DEV_OPT_LEVEL=2 cargo test --locked --test sim -- --nocapture

# A node that is stopped past its lease in etcd, in real time (two minutes).
fleet-paused:
	cargo test --locked --test fleet -- --ignored --nocapture

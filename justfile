# The list of names for what one does here. `just` is a convenience: each line also works typed by hand.

# Show this list.
default:
    @just --list

# Everything on one address, with the ten people, on a SQLite file in the data directory.
run *arguments:
    cargo run --release -- {{arguments}}

# The tests; on PostgreSQL too, where its programs are installed.
test:
    cargo test
    cargo test --package xtask

# The tests against a PostgreSQL server of yours instead of a private one.
pg url:
    TEST_DATABASE_URL={{url}} cargo test

# Format everything.
fmt:
    cargo fmt --all

# Warnings are errors, as in `.ci/run`.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Arrows between crates, words in the wrong room, file lengths, the list of modules.
tidy:
    cargo xtask tidy

# The documentation of the code.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Licences, banned crates, sources. Wants `cargo install cargo-deny`.
deny:
    cargo deny check licenses bans sources

# The committed benchmarks.
bench *arguments:
    cargo run --release -- bench {{arguments}}
    cargo bench --package mana-personas --bench claim

# All that must hold before a change lands.
ci:
    .ci/run

# Short names for the commands of the README, which need no just.

# Lists the recipes.
default:
    @just --list

# Everything in one process, with a sample catalogue and a spike.
demo *args:
    cargo run --release -- demo {{args}}

# All tests, on the embedded parts and on private real servers.
test *args:
    infra/test.sh {{args}}

# Everything that has a figure, side by side: bench.json and a table. `just bench --only b,d --seconds 3` is short.
bench *args:
    infra/bench.sh {{args}}

# Faults under load, and the verdict: `just chaos --minutes 20 --report chaos.json`.
chaos *args:
    infra/chaos.sh {{args}}

# Every gate, as before a merge.
ci:
    .ci/run

# Private RabbitMQ, PostgreSQL and Redis: up, env or down.
services *args:
    infra/services.sh {{args}}

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets -- -D warnings

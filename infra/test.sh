#!/usr/bin/env bash
# The test command: starts private RabbitMQ, PostgreSQL, Redis and Varnish, then runs every test of the workspace against the
# embedded parts and against the real ones. Arguments go to the test runner (`infra/test.sh -p checkout`).
#
# Servers that `infra/services.sh up` started before are used and left running; otherwise they go at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! infra/services.sh env >/dev/null 2>&1; then
  trap 'infra/services.sh down' EXIT
fi
infra/services.sh up --varnish
settings=$(infra/services.sh env --varnish)
eval "$settings"

# Some look at the shop's pages in a browser.
infra/services.sh browser

# The end-to-end tests start the binary itself, and cargo builds a binary only for tests of its own package.
cargo build -p millpond

# Whoever names packages means those alone.
packages=(--workspace)
for argument in "$@"; do
  case $argument in -p* | --package*) packages=() ;; esac
done

if ! cargo nextest --version >/dev/null 2>&1; then
  cargo test "${packages[@]}" "$@"
  exit
fi
cargo nextest run "${packages[@]}" "$@"
# nextest does not run the examples in the documentation. Arguments are filters meant for nextest, so only a full run
# has them.
if [ $# = 0 ]; then cargo test --workspace --doc; fi

#!/usr/bin/env bash
# The proof that the fault suite can fail: for each guarantee a binary in which it is broken on purpose, a short scenario
# with the fault that shows it, and the oracle, which has to name the guarantee; and the same scenario unbroken, about
# which it has to be silent. Arguments go to the test runner (`infra/prove.sh oversell`).
#
# Servers that `infra/services.sh up` started before are used and left running; otherwise they go at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! infra/services.sh env >/dev/null 2>&1; then
  trap 'infra/services.sh down' EXIT
  infra/services.sh up
fi
settings=$(infra/services.sh env)
eval "$settings"

# Under another name, so that no test takes it for the binary that is shipped, which is built again after it.
built=${CARGO_TARGET_DIR:-target}/debug
cargo build -p millpond --features failpoints
cp "$built/millpond" "$built/millpond-failpoints"
cargo build -p millpond

if ! cargo nextest --version >/dev/null 2>&1; then
  cargo test -p chaos --features prove --test prove -- "$@"
  exit
fi
cargo nextest run -p chaos --features prove --test prove "$@"

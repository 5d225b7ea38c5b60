#!/usr/bin/env bash
# Faults of every class, injected from a seed into a shop of real processes and servers under load; then rest, and the
# oracle. Ends with a table, with status 1 where a promise was broken, and with 2 where a class of faults struck
# nothing or RabbitMQ lost a queue of its own.
#
#   infra/chaos.sh [--minutes N] [--seed S] [--report FILE] [--only CLASS …] [--rate N] [--list]
#
# --report writes JSON, and beside it a page with pictures (.html) and a chapter with tables (.md). CHAOS_PROFILE=dev builds
# without optimisation, for machines that have that build already. What is missing on the machine (RabbitMQ, PostgreSQL,
# Redis, faketime) is installed with apt. Full disks take root, or sudo without a password, to mount small file systems; otherwise the run says
# that it could not inject them, and is incomplete.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'chaos: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# The servers come with the first start of infra/services.sh; faketime steps the clock of one process.
install_faketime() {
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null && return
  if ! command -v apt-get >/dev/null || ! as_root true 2>/dev/null; then return 0; fi
  say "installing faketime"
  as_root apt-get -o DPkg::Lock::Timeout=300 update -q >/dev/null || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q \
    --no-install-recommends faketime >/dev/null || say "faketime could not be installed"
}

# With failpoints, for poison that panics or aborts; under a name of its own, so that nobody takes it for the binary that
# is shipped, which is built again after it.
build() {
  local profile=${CHAOS_PROFILE:-release} folder
  folder=$profile
  if [ "$profile" = dev ]; then folder=debug; fi
  built=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$folder
  cargo build --manifest-path "$root/Cargo.toml" --profile "$profile" -p millpond --features failpoints
  cp "$built/millpond" "$built/millpond-failpoints"
  cargo build --manifest-path "$root/Cargo.toml" --profile "$profile" -p millpond -p chaos
}

case " $* " in
  *" --list "* | *" --help "* | *" -h "*)
    exec cargo run --quiet --manifest-path "$root/Cargo.toml" -p chaos -- "$@"
    ;;
esac
install_faketime
build
run=("$built/chaos" --binary "$built/millpond-failpoints" "$@")
# In namespaces of its own: what is mounted there is nobody else's, and whatever happens to this script, every process of
# the run ends with it.
if [ "$(id -u)" = 0 ] && unshare --mount --pid --fork --kill-child --mount-proc true 2>/dev/null; then
  # shellcheck disable=SC2016 # the inner shell's arguments; it stays to reap whom servers leave behind
  exec unshare --mount --pid --fork --kill-child --mount-proc bash -c '"$@"; exit $?' chaos "${run[@]}"
fi
exec "${run[@]}"

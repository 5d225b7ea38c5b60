#!/usr/bin/env bash
# Everything that Millpond promises a figure for, side by side in one run on this machine: bench.json and a table.
#
#   infra/bench.sh [--seconds N] [--only a,b,d] [--out FILE] [--bin FILE]
#
# --seconds  how long each measurement runs (10; sustained rate and spike last three times as long, the floods of j 150 s)
# --only     sections; without it, all of them:
#              a  raw confirmed publishes, by lapin alone        b  POST /v1/orders
#              c  raw consumption, raw inserts                   d  drain of a backlog by one checkout
#              e  sustained end to end, every role at work       f  page events, in and into rollups
#              g  b, d, e and f on embedded parts                h  memory, start-up, size of the binary
#              i  a database's budget, 1, 2 and 4 checkouts       j  ten times what the database takes
#              k  a million messages through an outbox            l  Redis, the database, RabbitMQ away
#              m  pages: cached, flooded, beside orders, and how soon a change is everywhere
# --out      where the figures go (bench.json)
# --bin      measures that binary instead of building this checkout's
#
# Starts private servers (infra/services.sh) and every role in processes of their own, in a scratch directory below
# ${TMPDIR:-/tmp}; all of it is gone afterwards, also after Ctrl-C. Nothing else should run on the machine meanwhile. wrk,
# curl and sqlite3 are installed with apt where they are missing. A target that is not met is said in the table, and is no
# error.
set -Eeuo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'bench: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# shellcheck source=infra/services/process.sh
. "$root/infra/services/process.sh"
# shellcheck source=infra/bench/report.sh
. "$root/infra/bench/report.sh"
# shellcheck source=infra/bench/measure.sh
. "$root/infra/bench/measure.sh"
# shellcheck source=infra/bench/cores.sh
. "$root/infra/bench/cores.sh"
# shellcheck source=infra/bench/shop.sh
. "$root/infra/bench/shop.sh"
# shellcheck source=infra/bench/raw.sh
. "$root/infra/bench/raw.sh"
# shellcheck source=infra/bench/orders.sh
. "$root/infra/bench/orders.sh"
# shellcheck source=infra/bench/sustained.sh
. "$root/infra/bench/sustained.sh"
# shellcheck source=infra/bench/events.sh
. "$root/infra/bench/events.sh"
# shellcheck source=infra/bench/footprint.sh
. "$root/infra/bench/footprint.sh"
# shellcheck source=infra/bench/steady.sh
. "$root/infra/bench/steady.sh"
# shellcheck source=infra/bench/overload.sh
. "$root/infra/bench/overload.sh"
# shellcheck source=infra/bench/outbox.sh
. "$root/infra/bench/outbox.sh"
# shellcheck source=infra/bench/away.sh
. "$root/infra/bench/away.sh"
# shellcheck source=infra/bench/pages.sh
. "$root/infra/bench/pages.sh"

usage() { sed -n '2,23s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# A role in the middle of a batch has 20 s of its own to finish (stop.soft_ms).
leave_within_s=30

wants() { [[ ,$only, == *,$1,* ]]; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# None of these starts a service. The servers are services.sh's.
programs() {
  local program missing=()
  for program in wrk curl sqlite3; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  if [ ${#missing[@]} = 0 ]; then return 0; fi
  say "installing ${missing[*]}"
  {
    as_root apt-get -o DPkg::Lock::Timeout=300 update -q &&
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "${missing[@]}"
  } >"$scratch/apt.log" 2>&1 </dev/null || {
    tail -n 20 "$scratch/apt.log" >&2
    die "could not install what is missing. By hand: apt-get install ${missing[*]}"
  }
}

build() {
  [ -n "$bin" ] || (cd "$root" && cargo build --release --locked -p millpond)
  millpond=${bin:-$root/target/release/millpond}
  examples=$root/target/release/examples
  if wants a || wants c || wants k || wants m; then
    # By themselves: their tests' features do not belong into the binary that is measured. All at once, as each set of
    # packages would have features of its own, and so a build of everything below them.
    (cd "$root" && cargo build --release --locked -p broker-rabbit -p store -p relay -p storefront --examples)
  fi
  if wants b || wants e || wants g || wants i || wants j || wants l || wants m; then
    "$millpond" load --help >/dev/null 2>&1 || die "$millpond has no verb load, which b, e, g, i, j, l and m need"
  fi
}

servers_start() {
  "$root/infra/services.sh" up --dir "$scratch/services"
  local settings
  settings=$("$root/infra/services.sh" env --dir "$scratch/services")
  eval "$settings"
  watch rabbitmq "$MILLPOND_TEST_RABBIT_PID"
  watch postgres "$MILLPOND_TEST_PG_PID"
  watch redis "$MILLPOND_TEST_REDIS_PID"
}

machine() {
  note_text machine.processor "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
  note machine.cores "$(nproc)"
  note machine.memory_mb "$(awk '/^MemTotal/ { printf "%d", $2 / 1024 }' /proc/meminfo)"
  note_text machine.kernel "$(uname -sr)"
  note_text machine.rabbitmq "$(rabbit_api GET overview | grep -o '"rabbitmq_version":"[^"]*' | cut -d '"' -f 4)"
  note_text machine.postgresql "$(server_sql 'SHOW server_version')"
  note_text machine.redis "$("/proc/$MILLPOND_TEST_REDIS_PID/exe" --version | grep -o 'v=[^ ]*' | cut -c 3-)"
  note_text machine.rustc "$(rustc --version)"
  note_text machine.commit "$(git -C "$root" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)"
  note_text machine.began "$(date -u +%FT%TZ)"
  note machine.load_before "$(cut -d ' ' -f 1 /proc/loadavg)"
  note machine.seconds "$seconds"
  awk '{ exit !($1 > 0.5) }' /proc/loadavg &&
    say "something else has been running on this machine (load $(cut -d ' ' -f 1 /proc/loadavg)): figures may be too low"
  return 0
}

section_g() {
  accept_orders g.b embedded all "embedded, run all, POST /v1/orders"
  accept_orders g.b_alone embedded ingress "embedded, run ingress alone, POST /v1/orders"
  drain g.d.hot embedded HOT "embedded, one hot SKU"
  drain g.d.spread embedded 1000 "embedded, 1,000 SKUs"
  sustained g.e.hot embedded HOT "embedded, one hot SKU"
  sustained g.e.spread embedded 1000 "embedded, 1,000 SKUs"
  page_events g.f embedded "embedded, "
}

# Whatever happened: first the roles, then the servers, then the files.
clean() {
  local status=$?
  trap - EXIT ERR
  # A second Ctrl-C would leave something behind.
  trap '' INT TERM
  set +e
  # A signal finds the output of a client's in its place.
  exec 2>&"$terminal"
  if [ -n "$hung" ]; then database_signal CONT; fi
  for client in flood orders; do stop "$client" TERM; done
  spin_stop
  roles_stop
  if [ "$status" != 0 ] && [ -s "$table" ]; then
    cat "$table" >&2
    say "that was measured before it failed"
  fi
  [ ! -d "$scratch/services" ] || "$root/infra/services.sh" down --dir "$scratch/services"
  rm -rf "$scratch"
  exit "$status"
}

# Read whole before it runs, so that an edit meanwhile changes nothing.
main() {
  hung=
  seconds=10 only=a,b,c,d,e,f,g,h,i,j,k,l,m out=bench.json bin=
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
      --seconds) seconds=$2 ;;
      --only) only=$2 ;;
      --out) out=$2 ;;
      --bin) bin=$(realpath "$2") ;;
      *) usage ;;
    esac
    shift 2
  done
  [[ $seconds =~ ^[1-9][0-9]*$ ]] || usage
  [[ $only =~ ^[a-m](,[a-m])*$ ]] || usage
  [[ $out = /* ]] || out=$PWD/$out

  umask 077
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/millpond-bench.XXXXXX")
  # PostgreSQL's own user has to pass through.
  chmod 711 "$scratch"
  dir=$scratch
  notes=$scratch/notes table=$scratch/table verdicts=$scratch/verdicts cpu_notes=$scratch/cpu
  touch "$notes" "$table" "$verdicts" "$cpu_notes"
  exec {terminal}>&2
  trap clean EXIT
  trap 'say "failed: $BASH_COMMAND (${FUNCNAME[0]:-main}, line $LINENO)"' ERR
  trap 'exit 130' INT TERM

  programs
  build
  servers_start
  machine
  # l ends servers, so it comes last.
  for section in a b c d e f g h i j k m l; do
    wants "$section" || continue
    say "== $section"
    "section_$section"
  done
  report
}

main "$@"

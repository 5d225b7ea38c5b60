#!/usr/bin/env bash
# Private RabbitMQ, PostgreSQL, Redis and Varnish for the tests: free loopback ports, own data, own passwords, in one scratch
# directory. Nothing of the system's own services is read, changed or stopped.
#
#   infra/services.sh up   [--dir DIR] [--replica] [--varnish] [rabbit|postgres|redis|varnish …]
#                                        start what does not run yet, or of that the named ones alone; servers that died
#                                        come back with their data. --replica: and a hot standby that streams from
#                                        PostgreSQL. --varnish: and a Varnish with infra/varnish/millpond.vcl
#   infra/services.sh env  [--dir DIR] [--replica] [--varnish] [rabbit|postgres|redis|varnish …]
#                                        print `export MILLPOND_TEST_…` lines; fails unless all three, or the named ones, run
#   infra/services.sh browser            install what tests in a browser need, where it is missing: Chromium and its driver
#   infra/services.sh down [--dir DIR]   end the processes that `up` started, and remove the directory
#
# Without --dir, the directory belongs to this user and this checkout, below ${TMPDIR:-/tmp}. Servers missing from the
# machine are installed with apt, as root or through sudo without a password. Works on Debian 12 and 13.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'services: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# shellcheck source=infra/services/process.sh
. "$root/infra/services/process.sh"
# shellcheck source=infra/services/install.sh
. "$root/infra/services/install.sh"
# shellcheck source=infra/services/rabbit.sh
. "$root/infra/services/rabbit.sh"
# shellcheck source=infra/services/postgres.sh
. "$root/infra/services/postgres.sh"
# shellcheck source=infra/services/replica.sh
. "$root/infra/services/replica.sh"
# shellcheck source=infra/services/redis.sh
. "$root/infra/services/redis.sh"
# shellcheck source=infra/services/varnish.sh
. "$root/infra/services/varnish.sh"

usage() { sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

default_dir() {
  local path_sum
  path_sum=$(printf '%s' "$root" | cksum | cut -d ' ' -f 1)
  printf '%s/millpond-services-%s-%s' "${TMPDIR:-/tmp}" "$(id -un)" "$path_sum"
}

# One `up` or `down` at a time. The lock is on the directory itself, which a `down` may have removed while we waited.
open_dir() {
  while :; do
    # Others may pass through (PostgreSQL can't run as root and needs its own corner) but not look around.
    if [ ! -d "$dir" ]; then mkdir -p "$dir" && chmod 711 "$dir"; fi
    if [ -L "$dir" ] || [ ! -O "$dir" ]; then die "$dir is not a directory of this user: choose another with --dir"; fi
    exec 9<"$dir"
    flock -w 600 9 || die "another services.sh has held $dir for ten minutes"
    [ "$dir" -ef "/proc/$$/fd/9" ] && return
  done
}

# Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that none of these can
# occupy a port of ours while its server is away. Sets `port`.
free_port() {
  for _ in $(seq 200); do
    port=$((20000 + (RANDOM << 15 | RANDOM) % 12000))
    [[ " ${ports_taken:-} " != *" $port "* ]] || continue
    grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null || break
  done
  ports_taken="${ports_taken:-} $port"
}

# Ports and password are chosen once per directory: a server that died comes back where its clients look for it.
settings() {
  if [ ! -f "$dir/settings" ]; then
    (
      umask 077
      for _ in amqp api distribution epmd postgres redis replica; do
        free_port
        printf '%s ' "$port"
      done >"$dir/settings.new"
      od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >>"$dir/settings.new"
    )
    mv "$dir/settings.new" "$dir/settings"
  fi
  if [ ! -f "$dir/settings.varnish" ]; then
    (
      free_port
      printf '%s ' "$port"
      free_port
      printf '%s' "$port"
    ) >"$dir/settings.varnish"
  fi
  # The file has no line end, which `read` reports as a failure.
  read -r amqp_port api_port dist_port epmd_port pg_port redis_port replica_port password <"$dir/settings" || true
  read -r varnish_port varnish_backend_port <"$dir/settings.varnish" || true
}

all_run() {
  local server
  for server in "${servers[@]}"; do running "$server" >/dev/null || return 1; done
}

wanted() { [[ " ${servers[*]} " == *" $1 "* ]]; }

up() {
  open_dir
  all_run && return
  find_programs
  if [ ${#missing[@]} -gt 0 ]; then
    install_missing
    find_programs
    [ ${#missing[@]} = 0 ] || die "installed, but still not found: ${missing[*]}"
  fi
  settings
  limit_open_files
  say "starting ${servers[*]} in $dir"
  if wanted redis; then start_redis; fi
  if wanted postgres; then start_postgres; fi
  if wanted replica; then start_replica; fi
  if wanted varnish; then start_varnish; fi
  if wanted rabbit; then start_rabbit; fi
  local server
  # The pids of others are those of their last start.
  for server in "${servers[@]}"; do write_env "$server"; done
  say "up after $SECONDS s"
}

# Containers often allow a thousand million open files. Erlang sizes a table by that limit, and epmd closes each of them
# in turn. The usual 1024, on the other hand, is few for a broker under test.
limit_open_files() {
  local hard
  hard=$(ulimit -Hn)
  if [ "$hard" = unlimited ] || [ "$hard" -gt 65536 ]; then hard=65536; fi
  ulimit -Sn "$hard"
}

# write_env SERVER: what its clients need, once it runs.
write_env() {
  (
    umask 077
    "env_$1" >"$dir/$1.env.new"
  )
  mv "$dir/$1.env.new" "$dir/$1.env"
}

env_rabbit() {
  cat <<-END
	export MILLPOND_TEST_AMQP_URL=amqp://millpond:$password@127.0.0.1:$amqp_port
	export MILLPOND_TEST_AMQP_API=http://millpond:$password@127.0.0.1:$api_port
	export MILLPOND_TEST_RABBIT_PID=$(running rabbit)
	END
}

env_postgres() {
  cat <<-END
	export MILLPOND_TEST_POSTGRES_URL=postgres://millpond:$password@127.0.0.1:$pg_port/postgres
	export MILLPOND_TEST_PG_BIN=$pg_bin
	export MILLPOND_TEST_PG_PID=$(running postgres)
	END
}

env_redis() {
  cat <<-END
	export MILLPOND_TEST_REDIS_URL=redis://default:$password@127.0.0.1:$redis_port
	export MILLPOND_TEST_REDIS_PID=$(running redis)
	END
}

env_varnish() {
  cat <<-END
	export MILLPOND_TEST_VARNISH_URL=http://127.0.0.1:$varnish_port
	export MILLPOND_TEST_VARNISH_BACKEND=127.0.0.1:$varnish_backend_port
	export MILLPOND_TEST_VARNISH_PID=$(running varnish)
	END
}

env_replica() {
  cat <<-END
	export MILLPOND_TEST_PG_REPLICA_URL=postgres://millpond:$password@127.0.0.1:$replica_port/postgres
	export MILLPOND_TEST_PG_REPLICA_PID=$(running replica)
	END
}

browser() {
  find_browser
  [ ${#missing[@]} -gt 0 ] || return 0
  open_dir
  install_missing
  find_browser
  [ ${#missing[@]} = 0 ] || die "installed, but still not found: ${missing[*]}"
}

print_env() {
  local server
  all_run || die "not all of ${servers[*]} run in $dir: 'infra/services.sh up' starts them"
  for server in "${servers[@]}"; do
    [ -f "$dir/$server.env" ] || die "$server in $dir is not ready yet"
    cat "$dir/$server.env"
  done
}

down() {
  [ -d "$dir" ] || { say "nothing in $dir"; return; }
  open_dir
  stop redis TERM
  stop varnish TERM
  stop replica QUIT
  stop postgres QUIT
  # An orderly stop takes 6 s, for data that goes with the directory.
  stop rabbit KILL
  stop epmd TERM
  rm -rf "$dir"
  say "down"
}

[ $# -ge 1 ] || usage
verb=$1
shift
dir=
all_servers=(rabbit postgres redis)
servers=() replica='' varnish_too=''
while [ $# -gt 0 ]; do
  case $1 in
    --dir) [ $# -ge 2 ] || usage; dir=$2; shift 2 ;;
    --replica) [ "$verb" != down ] || usage; replica=1; shift ;;
    --varnish) [ "$verb" != down ] || usage; varnish_too=1; shift ;;
    rabbit | postgres | redis | varnish) [ "$verb" != down ] || usage; servers+=("$1"); shift ;;
    *) usage ;;
  esac
done
[ ${#servers[@]} -gt 0 ] || servers=("${all_servers[@]}")
if [ -n "$replica" ]; then servers+=(replica); fi
if [ -n "$varnish_too" ]; then servers+=(varnish); fi
dir=${dir:-$(default_dir)}
[[ $dir = /* ]] || dir=$PWD/$dir

case $verb in
  up) up ;;
  env) print_env ;;
  browser) browser ;;
  down) down ;;
  *) usage ;;
esac

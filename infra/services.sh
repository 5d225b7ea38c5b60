#!/usr/bin/env bash
# Private RabbitMQ, PostgreSQL and Redis for the tests: free loopback ports, own data, own passwords, in one scratch
# directory. Nothing of the system's own services is read, changed or stopped.
#
#   infra/services.sh up   [--dir DIR]   start what does not run yet; servers that died come back with their data
#   infra/services.sh env  [--dir DIR]   print `export MILLPOND_TEST_…` lines; fails unless all three run
#   infra/services.sh down [--dir DIR]   end the processes that `up` started, and remove the directory
#
# Without --dir, the directory belongs to this user and this checkout, below ${TMPDIR:-/tmp}. Servers missing from the
# machine are installed with apt, as root or through sudo without a password. Works on Debian 12 and 13.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# How long a server may take from its start until it answers. RabbitMQ needs 8 s on two idle cores; tests may be
# compiling beside it.
ready_within_s=120
# How long a server may take to leave when asked; after that it is killed. Its data is thrown away anyway.
leave_within_s=10

say() { printf 'services: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() { sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# ---- the directory ---------------------------------------------------------------------------------------------------

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

# ---- processes -------------------------------------------------------------------------------------------------------

# A pid alone may have been given to somebody else since; with its start time (field 22 of stat, counted after the
# command's closing bracket) it names one process for ever.
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra stat <<<"${stat##*) }"
  # A zombie has ended, it only waits for its parent.
  [ "${stat[0]}" != Z ] || return 1
  printf '%s' "${stat[19]}"
}

remember() { printf '%s %s\n' "$2" "$(started_at "$2")" >"$dir/$1.pid"; }

# Prints the pid of a server of ours that runs.
running() {
  local pid start
  read -r pid start 2>/dev/null <"$dir/$1.pid" || return 1
  [ "$(started_at "$pid")" = "$start" ] && printf '%s' "$pid"
}

# In a session of its own, so that a Ctrl-C in the terminal of the tests does not reach it; the lock is not inherited.
# Sets `launched`.
launch() {
  local log=$1
  shift
  setsid "$@" >>"$log" 2>&1 </dev/null 9<&- &
  launched=$!
}

# Waits until a condition holds, while the process lives.
await() {
  local what=$1 pid=$2 log=$3 deadline=$((SECONDS + ready_within_s))
  shift 3
  until "$@"; do
    if ! started_at "$pid" >/dev/null; then failed "$what ended before it was ready" "$log"; fi
    if [ $SECONDS -ge $deadline ]; then failed "$what is not ready after $ready_within_s s" "$log"; fi
    sleep 0.1
  done
}

failed() {
  say "$1; the end of its log, $2:"
  tail -n 25 "$2" | sed 's/^/  | /' >&2 || true
  die "nothing else was changed; 'infra/services.sh down' clears the directory $dir"
}

stop() {
  local name=$1 signal=$2 pid deadline=$((SECONDS + leave_within_s))
  pid=$(running "$name") || return 0
  kill -s "$signal" "$pid" 2>/dev/null || true
  while running "$name" >/dev/null; do
    [ $SECONDS -lt $deadline ] || kill -s KILL "$pid" 2>/dev/null || true
    sleep 0.05
  done
}

# ---- ports and secrets -----------------------------------------------------------------------------------------------

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
      for _ in amqp api distribution epmd postgres redis; do
        free_port
        printf '%s ' "$port"
      done >"$dir/settings.new"
      od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >>"$dir/settings.new"
    )
    mv "$dir/settings.new" "$dir/settings"
  fi
  # The file has no line end, which `read` reports as a failure.
  read -r amqp_port api_port dist_port epmd_port pg_port redis_port password <"$dir/settings" || true
}

# ---- programs --------------------------------------------------------------------------------------------------------

first_executable() {
  local path
  for path in "$@"; do
    [ -x "$path" ] && printf '%s' "$path" && return
  done
  return 1
}

newest() { printf '%s\n' "$@" | sort -rV; }

# Not Debian's wrapper in /usr/sbin: that one changes to the user of the system's own node.
find_rabbit() {
  # shellcheck disable=SC2046 # one path per word
  first_executable /usr/lib/rabbitmq/bin/rabbitmq-server \
    $(newest /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server) /opt/rabbitmq/sbin/rabbitmq-server
}

find_pg_bin() {
  local postgres
  # shellcheck disable=SC2046 # one path per word
  postgres=$(first_executable $(newest /usr/lib/postgresql/*/bin/postgres) "$(command -v postgres || true)") &&
    dirname "$postgres"
}

find_redis() { command -v redis-server || command -v valkey-server; }

find_epmd() {
  # shellcheck disable=SC2046 # one path per word
  command -v epmd || first_executable $(newest /usr/lib/erlang/erts-*/bin/epmd)
}

find_programs() {
  PATH=$PATH:/usr/sbin:/sbin
  missing=()
  rabbit=$(find_rabbit) || missing+=(rabbitmq-server)
  pg_bin=$(find_pg_bin) || missing+=(postgresql)
  redis=$(find_redis) || missing+=(redis-server)
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_missing() {
  local by_hand="apt-get install --no-install-recommends ${missing[*]}" policy=/usr/sbin/policy-rc.d log=$dir/apt.log
  command -v apt-get >/dev/null ||
    die "not installed: ${missing[*]}. This machine has no apt: install RabbitMQ 3.10+, PostgreSQL 15+ and Redis 7+"
  as_root true 2>/dev/null ||
    die "not installed: ${missing[*]}. They need root, and sudo asks for a password. Run: sudo $by_hand"
  say "installing ${missing[*]}"
  # The packages would start the system's own services, which nobody asked for. A policy that is there stays.
  local policy_is_ours=
  if [ ! -e $policy ]; then
    policy_is_ours=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
  fi
  local status=0
  {
    as_root apt-get -o DPkg::Lock::Timeout=300 update -q &&
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 </dev/null 9<&- || status=$?
  [ -z "$policy_is_ours" ] || as_root rm -f $policy
  [ $status = 0 ] || failed "apt could not install ${missing[*]} (by hand: $by_hand)" "$log"
}

# ---- RabbitMQ --------------------------------------------------------------------------------------------------------

rabbit_config() {
  local home=$dir/rabbit
  mkdir -p "$home/home"
  chmod 700 "$home"
  # The cookie is the key to the node: its own, so that no other node on the machine can be reached or reach it.
  [ -f "$home/home/.erlang.cookie" ] || printf %s "$password" >"$home/home/.erlang.cookie"
  chmod 400 "$home/home/.erlang.cookie"
  echo '[rabbitmq_management].' >"$home/enabled_plugins"
  # The default 50 MB of free disk is too little to notice in time; the default log of 512 MB too much for a scratch
  # directory.
  cat >"$home/rabbitmq.conf" <<-END
	listeners.tcp.1 = 127.0.0.1:$amqp_port
	management.tcp.ip = 127.0.0.1
	management.tcp.port = $api_port
	default_user = millpond
	default_pass = $password
	default_user_tags.administrator = true
	disk_free_limit.absolute = 256MB
	raft.wal_max_size_bytes = 64000000
	log.console = true
	log.console.level = info
	log.file = false
	END
}

# An epmd of our own, on a port of our own: the machine's one may not run, and must not be left running after us.
start_epmd() {
  running epmd >/dev/null && return
  launch "$dir/epmd.log" "$(find_epmd)" -port "$epmd_port" -address 127.0.0.1
  remember epmd "$launched"
  await "epmd" "$launched" "$dir/epmd.log" listens "$epmd_port"
}

start_rabbit() {
  running rabbit >/dev/null && return
  local home=$dir/rabbit log=$dir/rabbit.log
  rabbit_config
  start_epmd
  rm -f "$home/pid"
  # RABBITMQ_CONF_ENV_FILE: not /etc's, which names the system's node. The distribution port and epmd listen on
  # loopback alone.
  launch "$log" env -C "$home" HOME="$home/home" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_NODENAME=millpond@localhost \
    RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" RABBITMQ_ADVANCED_CONFIG_FILE=/dev/null \
    RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
    RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/log" RABBITMQ_PID_FILE="$home/pid" \
    RABBITMQ_DIST_PORT="$dist_port" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
    "$rabbit"
  await RabbitMQ "$launched" "$log" rabbit_is_ready
  # The launched process is a shell script around the node; the node itself is what a test kills.
  remember rabbit "$(cat "$home/pid")"
}

# The AMQP listener opens last in the boot, and the health check speaks of alarms, which would block every publish.
rabbit_is_ready() {
  [ -s "$dir/rabbit/pid" ] && listens "$amqp_port" || return 1
  case $(api_status /api/health/checks/local-alarms) in
    200) return 0 ;;
    503) failed "RabbitMQ raised an alarm, it needs 256 MB of free disk in $dir and free memory" "$dir/rabbit.log" ;;
    *) return 1 ;;
  esac
}

listens() { (exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1"); }

# The status code of a GET on RabbitMQ's HTTP API, in plain bash: a clean machine may lack curl.
api_status() {
  (
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$api_port" || exit 0
    printf 'GET %s HTTP/1.0\r\nAuthorization: Basic %s\r\n\r\n' \
      "$1" "$(printf 'millpond:%s' "$password" | base64 -w 0)" >&3
    read -r -t 10 _ code _ <&3 && printf %s "$code"
  ) || true
}

# ---- PostgreSQL ------------------------------------------------------------------------------------------------------

# PostgreSQL refuses to run as root: sets `as_pg_user`, the words in front of its commands, and gives it its corner.
become_pg_user() {
  as_pg_user=()
  [ "$(id -u)" = 0 ] || return 0
  local user=postgres
  id "$user" >/dev/null 2>&1 || user=nobody
  as_pg_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --)
  chown -R "$user" "$dir/postgres"
}

create_cluster() {
  local home=$dir/postgres log=$dir/initdb.log socket_dir=$dir/postgres
  rm -rf "$home/new"
  (cd "$home" && "${as_pg_user[@]}" "$pg_bin/initdb" -D "$home/new" --username millpond --pwfile "$home/password" \
    --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8 --no-sync --no-instructions >>"$log" 2>&1 9<&-) ||
    failed "initdb failed" "$log"
  # The path of a Unix socket has at most 107 bytes.
  [ ${#socket_dir} -lt 80 ] || socket_dir=
  # fsync stays on: what survives a kill is what the tests are about.
  cat >>"$home/new/postgresql.conf" <<-END
	listen_addresses = '127.0.0.1'
	port = $pg_port
	unix_socket_directories = '$socket_dir'
	max_connections = 300
	fsync = on
	synchronous_commit = on
	shared_buffers = 256MB
	log_line_prefix = '%m [%p] %d '
	END
  mv "$home/new" "$home/data"
}

start_postgres() {
  running postgres >/dev/null && return
  local home=$dir/postgres log=$dir/postgres.log
  mkdir -p "$home"
  chmod 700 "$home"
  printf '%s\n' "$password" >"$home/password"
  become_pg_user
  [ -d "$home/data" ] || create_cluster
  await_orphans "$home/data"
  launch "$log" env -C "$home" "${as_pg_user[@]}" "$pg_bin/postgres" -D "$home/data"
  remember postgres "$launched"
  await PostgreSQL "$launched" "$log" postgres_is_ready
}

# Backends of a killed server end by themselves, but not at once, and a second server beside them would ruin the data.
# Each has the data directory as its working directory. Once none is left, the lock files speak of nobody; the new
# server could not know that, as the old pid may belong to a zombie or to somebody else.
await_orphans() {
  local deadline=$((SECONDS + leave_within_s)) process
  for process in /proc/[0-9]*; do
    while [ "$process/cwd" -ef "$1" ]; do
      [ $SECONDS -lt $deadline ] || failed "process ${process#/proc/} of a killed PostgreSQL does not end" "$log"
      sleep 0.05
    done
  done
  rm -f "$1/postmaster.pid" "$dir"/postgres/.s.PGSQL.*
}

# The pid file says whose it is in line 1, and the server's own word on its state in line 8.
postgres_is_ready() {
  local lines
  mapfile -t lines 2>/dev/null <"$dir/postgres/data/postmaster.pid" || return 1
  [ "${lines[0]:-}" = "$launched" ] && [[ ${lines[7]:-} == ready* ]]
}

# ---- Redis -----------------------------------------------------------------------------------------------------------

start_redis() {
  running redis >/dev/null && return
  local home=$dir/redis log=$dir/redis.log
  mkdir -p "$home"
  chmod 700 "$home"
  # Redis is disposable everywhere in Millpond: nothing is written to disk.
  cat >"$home/redis.conf" <<-END
	bind 127.0.0.1
	port $redis_port
	requirepass $password
	dir $home
	save ""
	appendonly no
	daemonize no
	END
  launch "$log" "$redis" "$home/redis.conf"
  remember redis "$launched"
  await Redis "$launched" "$log" redis_is_ready
}

redis_is_ready() {
  local reply
  reply=$(
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$redis_port" || exit 0
    printf 'AUTH %s\r\nPING\r\n' "$password" >&3
    read -r -t 5 _ <&3 && read -r -t 5 pong <&3 && printf %s "$pong"
  ) || true
  [[ $reply == +PONG* ]]
}

# ---- the verbs -------------------------------------------------------------------------------------------------------

all_run() { running rabbit >/dev/null && running postgres >/dev/null && running redis >/dev/null; }

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
  say "starting RabbitMQ, PostgreSQL and Redis in $dir"
  start_redis
  start_postgres
  start_rabbit
  write_env
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

write_env() {
  (
    umask 077
    cat >"$dir/env.new" <<-END
	export MILLPOND_TEST_AMQP_URL=amqp://millpond:$password@127.0.0.1:$amqp_port
	export MILLPOND_TEST_AMQP_API=http://millpond:$password@127.0.0.1:$api_port
	export MILLPOND_TEST_POSTGRES_URL=postgres://millpond:$password@127.0.0.1:$pg_port/postgres
	export MILLPOND_TEST_REDIS_URL=redis://default:$password@127.0.0.1:$redis_port
	export MILLPOND_TEST_PG_BIN=$pg_bin
	export MILLPOND_TEST_RABBIT_PID=$(running rabbit)
	export MILLPOND_TEST_PG_PID=$(running postgres)
	export MILLPOND_TEST_REDIS_PID=$(running redis)
	END
  )
  mv "$dir/env.new" "$dir/env"
}

print_env() {
  if [ ! -f "$dir/env" ] || ! all_run; then die "not all servers run in $dir: 'infra/services.sh up' starts them"; fi
  cat "$dir/env"
}

down() {
  [ -d "$dir" ] || { say "nothing in $dir"; return; }
  open_dir
  stop redis TERM
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
while [ $# -gt 0 ]; do
  case $1 in
    --dir) [ $# -ge 2 ] || usage; dir=$2; shift 2 ;;
    *) usage ;;
  esac
done
dir=${dir:-$(default_dir)}
[[ $dir = /* ]] || dir=$PWD/$dir

case $verb in
  up) up ;;
  env) print_env ;;
  down) down ;;
  *) usage ;;
esac

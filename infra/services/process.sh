# shellcheck shell=bash
# Starting, naming, awaiting and ending processes. Part of ../services.sh.

# How long a server may take from its start until it answers. RabbitMQ needs 8 s on two idle cores; tests may be
# compiling beside it.
ready_within_s=120
# How long a server may take to leave when asked; after that it is killed. Its data is thrown away anyway.
leave_within_s=10

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

# shellcheck shell=bash
# Load, and what it costs: CPU and memory by process, read from /proc. Part of ../bench.sh.

# name:pid of every process whose CPU is told apart, with all of its children (PostgreSQL has one for each connection).
watched=()

watch() { watched+=("$1:$2"); }

# Clock ticks spent so far: "NAME TICKS" a line; `machine` is everything that was not idle. Children that have ended count
# with their parents, which the kernel adds up where it is waited for them. Of a role also its threads, by their names:
# "NAME:THREAD TICKS".
cpu_ticks() {
  local role
  processes_ticks
  for role in "${roles[@]}"; do threads_ticks "$role" "$(running "$role")"; done
}

threads_ticks() {
  { cat "/proc/$2/task/"*/stat 2>/dev/null || true; } | awk -v role="$1" '
    {
      name = $0; sub(/^[0-9]+ \(/, "", name); sub(/\) [A-Z] .*$/, "", name); gsub(/[^A-Za-z0-9_-]+/, "_", name)
      sub(/^.*\) /, ""); ticks[name] += $12 + $13
    }
    END { for (name in ticks) print role ":" name, ticks[name] }' | sort
}

processes_ticks() {
  # Some end between the listing and the reading.
  { cat /proc/stat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v watched="${watched[*]}" '
    /^cpu / { machine = $2 + $3 + $4 + $7 + $8; next }
    # The name in brackets may hold spaces: the fields are counted after it.
    /^[0-9]+ \(/ { pid = $1; sub(/^.*\) /, ""); parent[pid] = $2; ticks[pid] = $12 + $13 + $14 + $15 }
    END {
      count = split(watched, pair, " ")
      for (i = 1; i <= count; i++) { split(pair[i], one, ":"); root[one[2]] = one[1]; sum[one[1]] = 0 }
      for (pid in ticks) {
        at = pid
        while (at in parent && !(at in root)) at = parent[at]
        if (at in root) sum[root[at]] += ticks[pid]
      }
      print "machine", machine
      for (i = 1; i <= count; i++) { split(pair[i], one, ":"); print one[1], sum[one[1]] }
    }'
}

cpu_begin() {
  : >"$scratch/load.cpu"
  cpu_ticks >"$scratch/cpu.before"
  cpu_began=$EPOCHREALTIME
}

# cpu_end PATH COUNT LOAD: what each process spent since cpu_begin, in all and for each of COUNT orders. LOAD names the
# client, whose times `timed` has kept; empty where there was none.
cpu_end() {
  local path=$1 name us cpu_s wall
  wall=$(calc 3 "$EPOCHREALTIME - $cpu_began")
  cpu_ticks >"$scratch/cpu.after"
  while read -r name cpu_s us; do
    if [ "$name" = cores ]; then
      note "$path.cpu.busy_cores" "$cpu_s"
    elif [[ $name = *:* ]]; then
      note "$path.threads.${name%:*}.${name#*:}.us_each" "$us"
    else
      note "$path.cpu.$name.cpu_s" "$cpu_s"
      note "$path.cpu.$name.us_each" "$us"
    fi
    printf '%s\t%s\t%s\n' "$path" "$name" "$us" >>"$cpu_notes"
  done < <(awk -v count="$2" -v load_name="$3" -v hz="$(getconf CLK_TCK)" -v wall="$wall" '
    function line(name, seconds) {
      printf "%s %.2f %.1f\n", name, seconds, (count > 0 ? seconds * 1e6 / count : 0)
    }
    FILENAME ~ /load.cpu$/ { load_s += $1 + $2; next }
    FILENAME ~ /before$/ { before[$1] = $2; next }
    $1 == "machine" { machine = ($2 - before[$1]) / hz; next }
    # What was not there before was started in between. Threads are counted with their process already.
    { spent = ($2 - before[$1]) / hz; line($1, spent); if ($1 !~ /:/) known += spent }
    END {
      if (load_name != "") { line(load_name, load_s); known += load_s }
      line("other", machine > known ? machine - known : 0)
      line("total", machine)
      printf "cores %.2f %.2f\n", machine / wall, machine / wall
    }
  ' "$scratch/load.cpu" "$scratch/cpu.before" "$scratch/cpu.after")
}

# Runs a client within a bound of time, keeps its output in $said and adds up its CPU. In the foreground, so that a Ctrl-C
# ends it, too. What is in client_at comes before it: the core that it is to stay on.
said= client_at=()
timed() {
  local limit=$1 status=0 TIMEFORMAT='%3U %3S'
  shift
  said=$scratch/load.out
  { time timeout --foreground --kill-after 5 "$limit" "${client_at[@]}" "$@" >"$said" 2>"$scratch/load.err"; } 2>"$scratch/load.time" || status=$?
  cat "$scratch/load.time" >>"$scratch/load.cpu"
  if [ $status != 0 ]; then
    tail -n 20 "$scratch/load.err" "$said" >&2
    die "the client ended with status $status: $*"
  fi
}

# As much as 64 connections can: hammer PORT SCRIPT FOR_S ARGUMENT…. Fills `hammered`, see the scripts.
declare -A hammered
hammer() {
  local port=$1 script=$2 for_s=$3 name value
  shift 3
  # One thread: it is not what limits, and a second would take the cores from what is measured.
  timed $((for_s + 30)) wrk --threads 1 --connections 64 --duration "${for_s}s" --timeout 10s \
    --script "$root/infra/bench/$script" "http://127.0.0.1:$port" -- "$@"
  hammered=()
  while read -r name value _; do
    case $name in accepted | per_s | refused | broken | p50_ms | p99_ms) hammered[$name]=$value ;; esac
  done <"$said"
  [ "${hammered[accepted]:-0}" -gt 0 ] || { cat "$said" >&2; die "nothing was accepted"; }
  [ "${hammered[refused]}" = 0 ] || say "  ${hammered[refused]} requests were refused"
  [ "${hammered[broken]}" = 0 ] || say "  ${hammered[broken]} requests broke or ran out of time"
}

# Orders at planned times, open loop: offer PORT RATE FOR_S SKUS OPTION…, the options those of `millpond load` and instead of
# what is here. Fills `offered`.
declare -A offered
offer() {
  local port=$1 rate=$2 for_s=$3 report=$scratch/load.json mix=(--sku HOT)
  [ "$4" = HOT ] || mix=(--skus "$4" --zipf 0 --sku-pattern 'SKU-{}')
  shift 4
  [ $# -gt 0 ] || set -- --connections 64
  rm -f "$report"
  timed $((for_s * 2 + 60)) "$millpond" load --url "http://127.0.0.1:$port" --key "$api_key" --rate "$rate" \
    --for "${for_s}s" "$@" "${mix[@]}" --price 1450 --report "$report"
  offered=(
    [per_s]=$(json_number "$report" accepted_per_s)
    [p50_ms]=$(json_number "$report" latency_ms.p50)
    [p99_ms]=$(json_number "$report" latency_ms.p99)
  )
  if [ -z "${offered[per_s]}" ] || [ -z "${offered[p99_ms]}" ]; then
    die "millpond load wrote no accepted_per_s or latency_ms: $(head -c 500 "$report")"
  fi
}

# json_number FILE PATH: a number by its dotted path. There may be no jq on the machine.
json_number() {
  { grep -oE '"([^"\\]|\\.)*"[[:space:]]*:?|[][{}]|[-+]?[0-9][-+0-9.eE]*' "$1" || true; } | awk -v path="$2" '
    { first = substr($0, 1, 1) }
    first == "\"" { if (/:$/) { key = $0; gsub(/"|[ \t]*:$/, "", key) } next }
    first == "{" || first == "[" { name[++depth] = key; key = ""; next }
    first == "}" || first == "]" { depth--; next }
    {
      at = ""
      for (i = 2; i <= depth; i++) at = at name[i] "."
      if (at key == path) found = $0
    }
    END { print found }'
}

# memory NAME FIELD: VmRSS or VmHWM of a role, MB.
memory() { awk -v field="$2:" '$1 == field { printf "%.1f", $2 / 1024 }' "/proc/$(running "$1")/status"; }

# metric NAME METRIC LABEL…: what a role says at /metrics, summed up over the series that have those labels (class="orders").
metric() {
  local port=${ports[$1]} name=$2
  shift 2
  curl --silent --show-error --fail "http://127.0.0.1:$port/metrics" | awk -v name="$name" -v wanted="$*" '
    BEGIN { count = split(wanted, label, " ") }
    index($1, name "{") == 1 || $1 == name {
      for (i = 1; i <= count; i++) if (!index($1, label[i])) next
      sum += $2
    }
    END { printf "%.0f", sum }'
}

# percentile P: of a list of numbers, one a line; null where the list is empty.
percentile() {
  sort -n | awk -v part="$1" '
    { value[NR] = $1 }
    END {
      if (NR == 0) { print "null"; exit }
      at = part * NR / 100; at = at > int(at) ? int(at) + 1 : int(at)
      print value[at < 1 ? 1 : at]
    }'
}

# shellcheck shell=bash
# Section j: ten times the orders that can be sustained, every role at work. Part of ../bench.sh.
#
# What can be sustained is what the database is given: a budget, as a shop has it whose database sets the pace. So ten times
# of it can be sent by a load that shares the cores with what it floods; what it could not send it says (the rate that
# arrived stands beside the one that was offered, and the CPU it took in the table of CPU). Once the queue takes all of it,
# and once with a limit on the age of what waits, so that orders are refused, too. The last flood is without a budget, where
# the cores set the pace, and the load takes them from the shop: as much as the load can send, for what it shows of refusals.
#
# What orders were completed is counted from the database, by the time of their transaction; how long a refusal takes, by a
# few orders per second over connections of their own, whose wait for a place in the flood's own line does not count.

# Rows/s. Over 1,000 SKUs an order is five: itself, its line, its movement, its SKU's stock, which hardly another order of a small
# batch shares, and its outcome as analytics has seen it. What is written once for each transaction comes on top. So 250 orders/s
# leave some of it: at one time everything has to be completed, or what follows compares two runs at the budget.
flood_budget=1500
flood_one_x=250
# What an operator sets who would rather refuse than let an order wait for longer, seconds.
flood_oldest_s=5
# Memory is judged by what it is after the first minute.
flood_for_s=150
# The flood without a budget: few orders in flight, far below the connections.
flood_connections=1024
flood_in_flight=64

section_j() {
  note j.budget_rows_per_s "$flood_budget"
  note j.sustainable_per_s "$flood_one_x"
  budget="$flood_budget rows/s"
  flood j.one_x "$flood_one_x" "at the sustained rate" "" $((seconds * 3)) 64
  flood j.ten_x $((flood_one_x * 10)) "at 10 times, the queue takes all" "" "$flood_for_s" 256
  flood j.ten_x_refused $((flood_one_x * 10)) "at 10 times, none older than $flood_oldest_s s" \
    "$(printf '[ingress.overload.%s]\noldest_s = %d\n' events "$flood_oldest_s" orders "$flood_oldest_s")" "$flood_for_s" 256
  budget=
  flood j.no_budget 50000 "no budget, $flood_in_flight orders in flight" \
    $'[ingress]\n'"max_in_flight_orders = $flood_in_flight" $((seconds * 3)) "$flood_connections"
}

# flood PATH RATE LABEL SETTINGS FOR_S CONNECTIONS
flood() {
  local path=$1 label="overload, $3" for_s=$5 began role reason count sampler
  shop_open servers "${1//[._]/-}"
  printf '%s\n' "$4" >>"$shop/millpond.toml"
  roles_start "${all_roles[@]}"
  [ -z "$budget" ] || until_leases 1
  server_sql CHECKPOINT
  ask_now_and_then "$for_s"
  sample_memory &
  sampler=$!
  cpu_begin
  began=$EPOCHREALTIME
  offer "${ports[ingress]}" "$2" "$for_s" 1000 --connections "$6"
  cpu_end "$path" "$(json_number "$scratch/load.json" sent)" load
  kill "$sampler" 2>/dev/null || true
  wait "$sampler" || true

  note "$path.offered_per_s" "$2"
  figure "$path.arrived_per_s" "$(calc 0 "$(json_number "$scratch/load.json" sent) / $for_s")" orders/s \
    "$label, $2 orders/s: sent"
  figure "$path.accepted_per_s" "${offered[per_s]}" orders/s "$label, accepted"
  [ -z "$budget" ] ||
    note "$path.arrived_to_one_x" "$(calc 2 "$(json_number "$scratch/load.json" sent) / $for_s / $flood_one_x")"
  completed "$path" "$label" "$began" "$for_s"
  note "$path.unanswered" "$(json_number "$scratch/load.json" unanswered)"
  note "$path.not_sent" "$(json_number "$scratch/load.json" not_sent)"
  figure "$path.load_cores" "$(awk -v for_s="$for_s" '{ sum += $1 + $2 } END { printf "%.2f", sum / for_s }' "$scratch/load.cpu")" \
    cores "$label, taken by the load itself"
  answers "$path" "$label"
  for reason in starting disconnected alarm in_flight held_bytes waiting_bytes age; do
    count=$(metric ingress millpond_ingress_shed_requests_total 'class="orders"' "reason=\"$reason\"")
    note "$path.shed.$reason" "$count"
    [ "$count" = 0 ] || figure "$path.shed_$reason" "$count" orders "$label, shed because of $reason"
  done
  note "$path.failed" "$(metric ingress millpond_ingress_requests_total 'class="orders"' 'outcome="failed"')"
  for role in "${all_roles[@]}"; do growth "$path" "$role" "$label"; done
  shop_close
}

# completed PATH LABEL BEGAN FOR_S: orders decided per second of the flood, and outcomes of them counted. Not its first two
# seconds, nor what came after it.
completed() {
  local in_time
  in_time="$(epoch created_at) >= $3 + 2 AND $(epoch created_at) < $3 + $4"
  figure "$1.completed_per_s" "$(sql "SELECT count(*) FROM orders WHERE $in_time" | awk -v s=$(($4 - 2)) '{ printf "%.1f", $1 / s }')" \
    orders/s "$2, completed"
  in_time=${in_time//created_at/seen_at}
  note "$1.counted_per_s" "$(sql "SELECT count(*) FROM revenue_seen WHERE $in_time" | awk -v s=$(($4 - 2)) '{ printf "%.1f", $1 / s }')"
  note "$1.waiting_at_end" "$(calc 0 "$(json_number "$scratch/load.json" accepted) - $(sql "SELECT count(*) FROM orders WHERE $(epoch created_at) < $3 + $4")")"
}

# 20 orders per second from a client of its own, which journals each answer with its status.
ask_now_and_then() {
  rm -f "$shop/asked.jsonl"
  launch "$shop/asked.log" env -C "$shop" "$millpond" load --url "http://127.0.0.1:${ports[ingress]}" --key "$api_key" \
    --rate 20 --for "$1s" --connections 16 --sku HOT --price 1450 --journal asked.jsonl --journal-sync never
  remember asked "$launched"
}

# answers PATH LABEL: how long those took, refused and accepted ones apart, and what the ingress itself says of refusals.
answers() {
  local deadline=$((SECONDS + 30)) status name refused within
  while running asked >/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
  stop asked TERM
  for status in 202 503; do
    [ $status = 202 ] && name=accepted || name=refused
    { grep -o "\"status\":$status,.*\"latency_us\":[0-9]*" "$shop/asked.jsonl" || true; } |
      awk -F : '{ printf "%.3f\n", $NF / 1000 }' >"$shop/$name"
    note "$1.asked.$name.answers" "$(wc -l <"$shop/$name")"
    note "$1.asked.$name.p50_ms" "$(percentile 50 <"$shop/$name")"
    note "$1.asked.$name.p99_ms" "$(percentile 99 <"$shop/$name")"
    note "$1.asked.$name.max_ms" "$(percentile 100 <"$shop/$name")"
    [ -s "$shop/$name" ] || continue
    figure "$1.asked.$name.p99_ms" "$(percentile 99 <"$shop/$name")" ms "$2, an answer $status, p99"
  done
  # /readyz answers 503, too, until the role is ready.
  refused=$(metric ingress millpond_http_server_request_duration_seconds_count 'http_route="/v1/orders"' \
    'http_response_status_code="503"')
  within=$(metric ingress millpond_http_server_request_duration_seconds_bucket 'http_route="/v1/orders"' \
    'http_response_status_code="503"' 'le="0.01"')
  note "$1.refused" "$refused"
  [ "$refused" = 0 ] || figure "$1.refused_within_10ms" "$(calc 4 "$within / $refused")" "of them" \
    "$2, 503 within 10 ms by the ingress's own clock"
}

# "SECOND ROLE KB" a line, as long as the ingress runs.
sample_memory() {
  trap - ERR
  local role second=0
  local -a files=()
  for role in "${roles[@]}"; do files+=("/proc/$(running "$role")/status"); done
  : >"$scratch/memory"
  while [ -e "${files[0]}" ]; do
    awk -v names="${roles[*]}" -v second="$second" '
      BEGIN { split(names, name, " ") }
      FNR == 1 { role++ }
      $1 == "VmRSS:" { print second, name[role], $2 }' "${files[@]}" >>"$scratch/memory" 2>/dev/null || true
    second=$((second + 1))
    sleep 1
  done
}

# growth PATH ROLE LABEL: how much more memory the role had at the end than after its first minute (the second minute to the
# last half one). A flood that was too short for that compares its second quarter to its last, under a name that no target
# judges: it may still be warming up.
growth() {
  local from to most ratio name
  read -r from to most ratio name < <(awk -v role="$2" '
    $2 == role { kb[n++] = $3; if ($3 > most) most = $3 }
    function median(begin, end,   i, j, v, sorted, count) {
      for (i = begin; i < end; i++) {
        v = kb[i]
        for (j = count++; j > 0 && sorted[j - 1] > v; j--) sorted[j] = sorted[j - 1]
        sorted[j] = v
      }
      return sorted[int(count / 2)]
    }
    END {
      name = "memory_growth"
      if (n >= 150) { from = median(60, 120); to = median(n - 30, n) }
      else { name = "memory_growth_too_short"; from = median(int(n / 4), int(n / 2)); to = median(int(3 * n / 4), n) }
      printf "%.1f %.1f %.1f %.3f %s\n", from / 1024, to / 1024, most / 1024, (from > 0 ? to / from : 0), name
    }' "$scratch/memory")
  note "$1.memory_mb.$2.settled" "$from"
  note "$1.memory_mb.$2.at_end" "$to"
  note "$1.memory_mb.$2.peak" "$most"
  figure "$1.$name.$2" "$ratio" "times" "$3, memory of $2 at the end ($to MB) to before"
}

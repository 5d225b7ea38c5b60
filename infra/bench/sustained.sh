# shellcheck shell=bash
# Section e: the highest constant rate at which nothing piles up, with every role at work that an order passes or that shows
# it: parker and ops do not run, and no page events come in. On embedded parts (section g) `all` runs, with every role in it.
# Part of ../bench.sh.
#
# The ingress stamps an order, the database stamps its row, and analytics the outcome that came back by outbox, relay and
# queue. So the database tells afterwards how many orders, and how many outcomes, waited at any moment of the run: exact,
# at no cost while it runs, and alike for both kinds of parts.

section_e() {
  sustained e.hot servers HOT "one hot SKU"
  sustained e.spread servers 1000 "1,000 SKUs"
}

# highest_rate servers|embedded SKUS LABEL: catches the rate between one that is held for a moment and one that is not, and
# bisects to 6%. Sets `highest`, 0 where none was held.
highest_rate() {
  local low=0 high=0 rate=8000 tries=0
  # Three whole seconds are the least that a trend is seen in.
  short=$seconds
  [ "$short" -ge 5 ] || short=5
  while [ $tries -lt 8 ]; do
    tries=$((tries + 1))
    if probe "$1" "$2" "$rate" "$short"; then low=$rate; else high=$rate; fi
    say "  $3: $rate/s $flat"
    if [ "$high" = 0 ]; then
      rate=$((low * 3 / 2))
    elif [ "$low" = 0 ]; then
      # What was stored meanwhile is a good guess.
      rate=$(awk -v rate="$high" -v stored="$stored_per_s" \
        'BEGIN { printf "%d", (stored < 0.4 * rate ? 0.4 * rate : (stored > 0.9 * rate ? 0.9 * rate : stored)) }')
    else
      [ $((100 * (high - low))) -ge $((6 * high)) ] || break
      rate=$(((low + high) / 2))
    fi
    rate=$((rate / 50 * 50))
    [ "$rate" -ge 50 ] || break
  done
  highest=$low
}

# sustained PATH servers|embedded SKUS LABEL: finds the highest rate, and holds it for three times as long (30 s by default).
sustained() {
  local path=$1 label="sustained, $4" highest short low tries
  highest_rate "$2" "$3" "$label"
  low=$highest
  [ "$low" -gt 0 ] || { say "  $label: no rate was held"; note "$path.stored_per_s" 0; return 0; }
  # A rate that holds for a moment may not hold for long.
  for tries in 1 2 3 4; do
    cpu_path=$path
    if probe "$2" "$3" "$low" $((short * 3)); then break; fi
    say "  $label: $low/s for $((short * 3)) s $flat"
    [ "$tries" = 4 ] || low=$((low * 92 / 100 / 50 * 50))
  done
  if [ "$is_flat" = false ]; then
    note "$path.stored_per_s" 0
    path=$path.not_held label="$label, NOT held"
  fi
  note "$path.held_for_s" $((short * 3))
  note "$path.offered_per_s" "$low"
  figure "$path.accepted_per_s" "${offered[per_s]}" orders/s "$label, accepted"
  figure "$path.stored_per_s" "$stored_per_s" orders/s "$label, stored"
  figure "$path.p99_ms" "${offered[p99_ms]}" ms "$label, p99 of an accepted order"
  note "$path.orders_waiting" "[$orders_waiting]"
  note "$path.outcomes_waiting" "[$outcomes_waiting]"
  figure "$path.orders_waiting_at_end" "${orders_waiting##*, }" orders "$label, waiting at the end of it"
  figure "$path.outcomes_waiting_at_end" "${outcomes_waiting##*, }" outcomes "$label, not counted yet at the end of it"
}

# probe servers|embedded SKUS RATE FOR_S: one shop, one rate. Succeeds where it was flat; sets `flat` (in words), `is_flat`,
# `stored_per_s` and both series. With `cpu_path` set it notes CPU and memory there.
cpu_path=
probe() {
  local rate=$3 for_s=$4 role rest
  local -a running_roles=(all)
  shop_open "$1" e-probe
  [ "$1" = embedded ] || running_roles=("${all_roles[@]}")
  roles_start "${running_roles[@]}"
  [ "$1" = embedded ] || server_sql CHECKPOINT
  cpu_begin
  offer "${ports[${running_roles[0]}]}" "$rate" "$for_s" "$2"
  if [ -n "$cpu_path" ]; then
    cpu_end "$cpu_path" "$(calc 0 "${offered[per_s]} * $for_s")" load
    for role in "${running_roles[@]}"; do
      note "$cpu_path.memory_mb.$role.resident" "$(memory "$role" VmRSS)"
      note "$cpu_path.memory_mb.$role.peak" "$(memory "$role" VmHWM)"
    done
    cpu_path=
  fi
  # What still waits is wanted in the series.
  rest=$(calc 0 "${offered[per_s]} * $for_s * 0.999")
  until_at_least "SELECT count(*) FROM revenue_seen" "$rest" $((for_s * 2 + 10)) || true
  waiting "$rate"
  shop_close
  [ "$is_flat" = true ]
}

# Reads the series from the database: second of the run, orders accepted, orders stored, outcomes counted.
waiting() {
  local zero accepted stored counted line
  zero=$(sql "SELECT min($(epoch accepted_at)) FROM orders")
  accepted=$(whole "$(epoch accepted_at) - $zero") stored=$(whole "$(epoch created_at) - $zero")
  counted=$(whole "$(epoch seen_at) - $zero")
  line=$(sql "SELECT second, sum(accepted), sum(stored), sum(counted) FROM (
      SELECT $accepted AS second, 1 AS accepted, 0 AS stored, 0 AS counted FROM orders
      UNION ALL SELECT $stored, 0, 1, 0 FROM orders
      UNION ALL SELECT $counted, 0, 0, 1 FROM revenue_seen
    ) AS moments GROUP BY second ORDER BY second" | series "$1")
  IFS='|' read -r is_flat flat stored_per_s orders_waiting outcomes_waiting <<<"$line"
}

# Flat: at the end no more waits than arrives in half a second (outcomes: in one), it grew by less than a tenth of a second's
# arrivals from the middle third to the last one, and what was offered was taken.
series() {
  awk -v rate="$1" -v taken="${offered[per_s]}" '
    { a[$1] = $2; s[$1] = $3; c[$1] = $4; if ($2 > 0) last = $1 }
    # The last second is not a whole one.
    END {
      for (t = 0; t < last; t++) {
        accepted += a[t]; stored += s[t]; counted += c[t]
        orders[t] = accepted - stored; outcomes[t] = stored - counted
        listed = listed (t ? ", " : "") orders[t]; listed_too = listed_too (t ? ", " : "") outcomes[t]
        if (t >= 2) { in_window += s[t]; window++ }
      }
      if (last < 3) { print "false|was too short to judge|0|0|0"; exit }
      third = int(last / 3); if (third < 1) third = 1
      for (t = last - third; t < last; t++) { end += orders[t] / third; end_too += outcomes[t] / third }
      for (t = last - 2 * third; t < last - third; t++) { middle += orders[t] / third; middle_too += outcomes[t] / third }
      why = ""
      if (taken < 0.98 * rate) why = "is more than is accepted (" int(taken) "/s)"
      else if (orders[last - 1] > 0.5 * rate || end - middle > 0.1 * rate)
        why = "piles up orders (" orders[last - 1] " wait)"
      else if (outcomes[last - 1] > rate || end_too - middle_too > 0.2 * rate)
        why = "piles up outcomes (" outcomes[last - 1] " wait)"
      printf "%s|%s|%.1f|%s|%s\n", (why == "" ? "true" : "false"), (why == "" ? "is held" : why), \
        in_window / window, listed, listed_too
    }'
}

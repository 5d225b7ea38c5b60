# shellcheck shell=bash
# Section i: a database's budget through a spike, and what somebody else notices of the spike. Part of ../bench.sh.
#
# Rows are counted afterwards from the tables: an order, its one line and its movement carry the time of their transaction
# (created_at), and each transaction (told apart by xmin, for two may begin in the same microsecond) of one SKU's orders
# updates one row of stock and adds one to the outbox. That is all that a budget
# counts of checkout; the processes' own count must come out alike, and stands beside it in bench.json.

# Rows/s. The spike brings twice as much, so that as long as it lasts once more is worked off after it.
steady_limit=1500
steady_base=100
# Orders that wait are a queue from a tenth of a second of the budget on: below that, some are always under way.
steady_queue=50

section_i() {
  local workers
  note i.budget_rows_per_s "$steady_limit"
  note i.spike_orders_per_s $((steady_base * 10))
  foreign_beside_loops
  for workers in 1 2 4; do steady "$workers"; done
  [ "$(nproc)" = 1 ] || steady 4 apart
}

# What busy cores alone cost the foreign query.
foreign_beside_loops() {
  local began
  shop_open servers i-loops
  foreign_start $((seconds * 2 + 3))
  sleep $((seconds + 1))
  spin_start
  began=$((${EPOCHREALTIME%[.,]*} + 1))
  while running foreign >/dev/null; do sleep 0.2; done
  spin_stop
  foreign_latencies $((foreign_began + 1)) $((began - 1)) >"$shop/before"
  foreign_latencies "$began" $((began + seconds)) >"$shop/during"
  figure i.loops.before_p99_ms "$(percentile 99 <"$shop/before")" ms "a foreign query, nothing else happens, p99"
  figure i.loops.during_p99_ms "$(percentile 99 <"$shop/during")" ms "the same while every core is busy with something else, p99"
  shop_close
}

# steady WORKERS [apart]: that many processes of checkout share the budget. Apart: PostgreSQL and the foreign query have a core
# of their own, as if the database had its own machine.
steady() {
  local path=i.workers_$1${2:+_$2} label="budget, $1 checkout" spike_s=$((seconds * 3)) busy_s n all by_metrics=0
  local -a workers=(checkout)
  for ((n = 2; n <= $1; n++)); do workers+=("checkout-$n"); done
  budget="$steady_limit rows/s"
  shop_open servers "i-$1${2:+-$2}"
  budget=
  roles_start ingress relay "${workers[@]}"
  until_leases "$1"
  if [ "${2:-}" = apart ]; then
    label="$label, the database on a core of its own"
    own_core postgres
    foreign_at=(taskset --cpu-list 0) client_at=(taskset --cpu-list 1)
  fi
  busy_s=$((spike_s * steady_base * 10 * 3 / steady_limit))
  cpu_begin
  foreign_start $((seconds + busy_s + 5))
  offer "${ports[ingress]}" "$steady_base" "$spike_s" HOT --connections 64 --spike 10x --before "${seconds}s" \
    --after "${seconds}s"
  client_at=() foreign_at=()
  until_at_least "SELECT count(*) FROM orders" "$(json_number "$scratch/load.json" accepted)" $((busy_s + 30)) ||
    say "  the queue is not empty yet: measured over what is"
  cpu_end "$path" "$(sql "SELECT count(*) FROM orders")" load
  for n in "${workers[@]}"; do
    by_metrics=$((by_metrics + $(metric "$n" millpond_governor_written_rows_total)))
  done
  all=$(sql "SELECT 3 * count(*) + 2 * count(DISTINCT xmin::text) FROM orders")
  note "$path.rows" "$all"
  note "$path.rows_by_metrics" "$by_metrics"
  [ "$all" = "$by_metrics" ] || say "  the tables hold $all rows, the processes counted $by_metrics"
  rows_by_second "$path" "$label"
  foreign_end "$path" "$label"
  [ -z "${2:-}" ] || every_core
  shop_close
}

# Everybody holds a share of the budget before anything is measured.
until_leases() {
  local deadline=$((SECONDS + 30))
  until [ "$(metric checkout millpond_governor_leases)" -ge "$1" ]; do
    [ $SECONDS -lt $deadline ] || die "not all of $1 checkouts have a lease after 30 s"
    sleep 0.2
  done
}

# Notes what the database wrote in each second of the queue, as a ratio of the budget. Sets `busy_from` and `busy_to`, the
# whole seconds (since 1970) at whose begin and end there was a queue. The second in which it began and the one in which it
# ended stand apart.
rows_by_second() {
  local path=$1 label=$2 accepted stored line
  accepted=$(whole "$(epoch accepted_at)") stored=$(whole "$(epoch created_at)")
  line=$(sql "SELECT second, sum(accepted), sum(stored), sum(transactions) FROM (
      SELECT $accepted AS second, 1 AS accepted, 0 AS stored, 0 AS transactions FROM orders
      UNION ALL SELECT $stored, 0, count(*), count(DISTINCT xmin::text) FROM orders GROUP BY 1
    ) AS moments GROUP BY second ORDER BY second" | queued)
  local -a of
  IFS='|' read -ra of <<<"$line"
  if [ "${of[0]}" = 0 ]; then die "there was no queue: the spike was below what the budget of $steady_limit rows/s takes"; fi
  busy_from=${of[1]} busy_to=${of[2]}
  figure "$path.mean_ratio" "${of[3]}" "of it" "$label, rows/s to the budget, mean of ${of[0]} s"
  figure "$path.min_ratio" "${of[4]}" "of it" "$label, least second"
  figure "$path.max_ratio" "${of[5]}" "of it" "$label, most second"
  figure "$path.seconds_outside" "${of[6]}" seconds "$label, outside 5% of the budget"
  note "$path.seconds" "${of[0]}"
  note "$path.first_second_ratio" "${of[7]}"
  note "$path.last_second_ratio" "${of[8]}"
  note "$path.ratios" "[${of[9]}]"
}

# Reads second, orders accepted, orders stored, transactions.
queued() {
  awk -v limit="$steady_limit" -v least="$steady_queue" '
    { a[$1] = $2; rows[$1] = 3 * $3 + 2 * $4; s[$1] = $3; if (!first) first = $1; last = $1 }
    END {
      for (t = first; t <= last; t++) {
        waits = waited + a[t] - s[t]; ratio = rows[t] / limit
        if (waited > least && waits > least) {
          if (!count++) { from = t; min = ratio }
          to = t; sum += ratio; listed = listed (count > 1 ? ", " : "") sprintf("%.3f", ratio)
          if (ratio < min) min = ratio
          if (ratio > max) max = ratio
          if (ratio < 0.95 || ratio > 1.05) outside++
        } else if (waits > least && !count) began = ratio
        else if (waited > least) ended = ratio
        waited = waits
      }
      printf "%d|%d|%d|%.3f|%.3f|%.3f|%d|%.3f|%.3f|%s\n", count, from, to + 1, (count ? sum / count : 0), min, max, \
        outside, began, ended, listed
    }'
}

# Somebody else on the same database: one row by its primary key, 100 times per second, open loop. What is in foreign_at comes
# before it: the core that it is to stay on.
foreign_at=()
foreign_start() {
  cat >"$shop/foreign.sql" <<-'END'
	\set number random(1, 1000)
	SELECT on_hand, reserved FROM stock WHERE region = 1 AND sku = 'SKU-' || :number;
	END
  launch "$shop/foreign.out" env -C "$shop" "${foreign_at[@]}" "$MILLPOND_TEST_PG_BIN/pgbench" --no-vacuum --file foreign.sql --rate 100 \
    --time "$1" --protocol prepared --log --log-prefix foreign "$database_url"
  remember foreign "$launched"
  foreign_began=${EPOCHREALTIME%[.,]*}
}

# What that query's latency was before the spike, and while there was a queue.
foreign_end() {
  local path=$1 label=$2
  while running foreign >/dev/null; do sleep 0.2; done
  # The first second connects and prepares; the last one before the queue is the spike's.
  foreign_latencies $((foreign_began + 1)) $((busy_from - 1)) >"$shop/before"
  foreign_latencies "$busy_from" "$busy_to" >"$shop/during"
  note "$path.foreign.before_queries" "$(wc -l <"$shop/before")"
  note "$path.foreign.during_queries" "$(wc -l <"$shop/during")"
  note "$path.foreign.before_p50_ms" "$(percentile 50 <"$shop/before")"
  note "$path.foreign.during_p50_ms" "$(percentile 50 <"$shop/during")"
  figure "$path.foreign.before_p99_ms" "$(percentile 99 <"$shop/before")" ms "$label, a foreign query before the spike, p99"
  figure "$path.foreign.during_p99_ms" "$(percentile 99 <"$shop/during")" ms "$label, the same while there is a queue, p99"
}

# foreign_latencies FROM TO: of the queries that ended in those seconds, ms.
foreign_latencies() {
  [ -s "$(echo "$shop"/foreign.[0-9]*)" ] || { cat "$shop/foreign.out" >&2; die "pgbench wrote no latencies"; }
  awk -v from="$1" -v to="$2" '$5 >= from && $5 < to { printf "%.3f\n", $3 / 1000 }' "$shop"/foreign.[0-9]*
}

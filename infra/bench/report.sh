# shellcheck shell=bash
# Figures, and what is made of them: bench.json and the table. Part of ../bench.sh.

# A figure by its path in bench.json; the value is a number, true, false, or text in quotes. The last one counts.
note() { printf '%s\t%s\n' "$1" "$2" >>"$notes"; }

note_text() {
  local text=${2//\\/\\\\}
  note "$1" "\"${text//\"/\\\"}\""
}

# Prints a figure that was noted, or nothing.
noted() { awk -F '\t' -v path="$1" '$1 == path { value = $2 } END { if (value != "") print value }' "$notes"; }

# Arithmetic with a fixed number of places.
calc() { awk -v places="$1" "BEGIN { printf \"%.*f\", places, $2 }"; }

# figure PATH VALUE UNIT LABEL: notes it, and says so in the table.
figure() {
  note "$1" "$2"
  printf '%-4s %-62s %12s %s\n' "${1%%.*}" "$4" "$2" "$3" >>"$table"
  say "$(printf '%-62s %12s %s' "$4" "$2" "$3")"
}

ratio() {
  local above below
  above=$(noted "$2")
  below=$(noted "$3")
  if [ -z "$above" ] || [ -z "$below" ]; then return 0; fi
  note "ratios.$1" "$(awk -v a="$above" -v b="$below" 'BEGIN { if (b > 0) printf "%.3f", a / b; else print "null" }')"
}

# What others were measured at, on 2 cores with everything including the load on the same machine.
published_marks() {
  note published_marks.fastify_amqplib_confirms_per_s_low 11000
  note published_marks.fastify_amqplib_confirms_per_s_high 13000
  note published_marks.direct_write_hot_per_s 2900
  note published_marks.direct_write_spread_per_s 7100
  note published_marks.node_consumer_tuned_hot_per_s 2400
  note published_marks.node_consumer_tuned_spread_per_s 7000
}

ratios() {
  ratio b_to_a_window_64 b.per_s a.window_64.per_s
  ratio b_to_a_window_256 b.per_s a.window_256.per_s
  ratio d_hot_to_raw_insert_128 d.hot.per_s c.insert_128.per_s
  ratio d_hot_to_raw_consumption d.hot.per_s c.consume.per_s
  ratio d_hot_to_spread d.hot.per_s d.spread.per_s
  ratio d_hot_to_published_tuned_consumer d.hot.per_s published_marks.node_consumer_tuned_hot_per_s
  ratio d_spread_to_published_tuned_consumer d.spread.per_s published_marks.node_consumer_tuned_spread_per_s
  ratio e_hot_to_published_direct_write e.hot.stored_per_s published_marks.direct_write_hot_per_s
  ratio e_spread_to_published_direct_write e.spread.stored_per_s published_marks.direct_write_spread_per_s
  ratio g_ingress_to_b g.b_alone.per_s b.per_s
  ratio g_all_to_b g.b.per_s b.per_s
  ratio g_hot_to_e_hot g.e.hot.stored_per_s e.hot.stored_per_s
  ratio g_spread_to_e_spread g.e.spread.stored_per_s e.spread.stored_per_s
  ratio g_drain_hot_to_d_hot g.d.hot.per_s d.hot.per_s
  ratio g_drain_spread_to_d_spread g.d.spread.per_s d.spread.per_s
  ratio g_events_accepted_to_f g.f.accepted_per_s f.accepted_per_s
  ratio g_events_counted_to_f g.f.counted_per_s f.counted_per_s
  local workers run
  for workers in 1 2 4 4_apart; do
    ratio "i_foreign_during_to_before_$workers" "i.workers_$workers.foreign.during_p99_ms" \
      "i.workers_$workers.foreign.before_p99_ms"
  done
  ratio i_foreign_beside_loops_to_alone i.loops.during_p99_ms i.loops.before_p99_ms
  ratio j_one_x_completed_to_offered j.one_x.completed_per_s j.one_x.offered_per_s
  for run in ten_x ten_x_refused; do ratio "j_${run}_to_one_x" "j.$run.completed_per_s" j.one_x.completed_per_s; done
  ratio j_no_budget_to_e_spread j.no_budget.completed_per_s e.spread.stored_per_s
  local flooded
  flooded=$(noted ratios.j_no_budget_to_e_spread)
  # No target judges it: what is flooded shares its cores with a load that sends all it can.
  if [ -n "$flooded" ] && [ "$flooded" != null ]; then
    figure j.no_budget.completed_to_e_spread "$flooded" times "overload, no budget, completed to sustained (e), 1,000 SKUs"
  fi
}

# target PATH >=|<= BOUND SENTENCE: unmet is said, and fails nothing: the figures are for people to judge.
target() {
  local value met
  value=$(noted "$1")
  if [ -z "$value" ] || [ "$value" = null ]; then return 0; fi
  met=$(awk -v value="$value" -v bound="$3" -v how="$2" \
    'BEGIN { print (how == ">=" ? value >= bound : value <= bound) ? "true" : "false" }')
  local at=targets.${1//./_}
  note_text "$at.what" "$4"
  note "$at.value" "$value"
  note_text "$at.bound" "$2 $3"
  note "$at.met" "$met"
  printf '%-7s %-62s %12s %s %s\n' "$([ "$met" = true ] && echo met || echo 'NOT met')" "$4" "$value" "$2" "$3" \
    >>"$verdicts"
}

targets() {
  target ratios.b_to_a_window_256 '>=' 0.7 "accepted orders to raw publishes, window 256"
  target b.per_s '>=' 13000 "accepted orders/s (Fastify + amqplib with confirms: 11,000-13,000)"
  target b.half.p99_ms '<=' 15 "p99 of an accepted order at half of that rate, ms"
  target d.hot.per_s '>=' 15000 "drain, one hot SKU, orders/s"
  target ratios.d_hot_to_spread '>=' 0.8 "drain, hot SKU to 1,000 SKUs"
  target e.hot.stored_per_s '>=' 8000 "sustained end to end, one hot SKU, orders/s"
  target e.spread.stored_per_s '>=' 8000 "sustained end to end, 1,000 SKUs, orders/s"
  target f.accepted_per_s '>=' 100000 "page events confirmed per s"
  target f.counted_per_s '>=' 30000 "page events into rollups per s"
  target ratios.g_ingress_to_b '>=' 1 "embedded to RabbitMQ, accepted orders, an ingress alone with either"
  target ratios.g_all_to_b '>=' 1 "embedded, run all, to RabbitMQ with an ingress alone, accepted orders"
  target ratios.g_hot_to_e_hot '>=' 1 "embedded to RabbitMQ, sustained, hot"
  target ratios.g_spread_to_e_spread '>=' 1 "embedded to RabbitMQ, sustained, 1,000 SKUs"
  target ratios.g_drain_hot_to_d_hot '>=' 1 "embedded to RabbitMQ, drain, one hot SKU"
  target ratios.g_drain_spread_to_d_spread '>=' 1 "embedded to RabbitMQ, drain, 1,000 SKUs"
  target ratios.g_events_accepted_to_f '>=' 1 "embedded to RabbitMQ, page events confirmed"
  target ratios.g_events_counted_to_f '>=' 1 "embedded to RabbitMQ, page events into rollups"
  local role workers run words
  for workers in 1 2 4; do
    target "i.workers_$workers.min_ratio" '>=' 0.95 "rows/s in the least second to the budget, $workers checkout"
    target "i.workers_$workers.max_ratio" '<=' 1.05 "rows/s in the most second to the budget, $workers checkout"
    target "ratios.i_foreign_during_to_before_$workers" '<=' 1.5 "a foreign query's p99 to before, $workers checkout"
  done
  target ratios.i_foreign_during_to_before_4_apart '<=' 1.5 \
    "a foreign query's p99 to before, 4 checkout, the database on a core of its own"
  # Where it is not, what follows compares two runs at the budget.
  target ratios.j_one_x_completed_to_offered '>=' 0.98 "1 time the load: orders completed to offered"
  for run in ten_x ten_x_refused; do
    words="10 times the load"
    [ "$run" = ten_x ] || words="$words, refused by age"
    # Without it, what follows is about less than ten times.
    target "j.$run.arrived_to_one_x" '>=' 10 "$words: what the load could send, to 1 time"
    target "ratios.j_${run}_to_one_x" '>=' 0.95 "$words: orders completed to at 1 time"
    target "j.$run.asked.refused.p99_ms" '<=' 10 "$words: p99 of a refusal, ms"
    for role in "${all_roles[@]}"; do
      target "j.$run.memory_growth.$role" '<=' 1.05 "$words: memory at the end to before, $role"
    done
  done
  # By the ingress's own clock: on a flooded machine a client waits for the processor, too.
  target j.ten_x_refused.refused_within_10ms '>=' 0.99 "10 times the load, refused by age: part of 503 within 10 ms"
  target j.no_budget.refused_within_10ms '>=' 0.99 "a flood without a budget: part of 503 within 10 ms"
  # Without it, what follows is about fewer.
  target k.rows '>=' 1000000 "messages through each outbox"
  target k.naptime_10s.rest_kb '<=' 32768 "an outbox after them, PostgreSQL, naptime 10s, KB"
  target k.sqlite.peak_kb '<=' 32768 "an outbox at its largest, SQLite, KB"
  target l.redis.p99_ratio '<=' 1.2 "without Redis: p99 of an accepted order to with it"
  target l.database.rate_ratio '>=' 0.95 "without the database: orders accepted to with it"
  target l.database.parked '<=' 0 "without the database: orders parked"
  target l.database.not_confirmed '<=' 0 "without the database: accepted and not confirmed after"
  # Everybody who waits for the database has a look at it now and then, on the cores that the ingress has.
  target l.database_full.rate_ratio '>=' 0.95 "without the database, 64 connections: accepted to with it"
  target l.database_full.during.refused '<=' 0 "without the database, 64 connections: orders refused"
  target l.database_full.parked '<=' 0 "without the database, 64 connections: orders parked"
  target l.database_full.not_confirmed '<=' 0 "without the database, 64 connections: not confirmed after"
  target l.rabbitmq.accepted '<=' 0 "without RabbitMQ: answered 202"
  target l.rabbitmq.max_ms '<=' 100 "without RabbitMQ: the slowest 503, ms"
  local kind name
  for name in page json; do
    for kind in page held; do
      words="a product's page"
      [ "$name" = page ] || words="a product as JSON"
      [ "$kind" = page ] || words="$words, 304"
      target "ratios.m_${name}_${kind}_to_bare" '>=' 0.7 "$words from the cache, to a bare axum route"
    done
  done
  # Without it, what follows is about fewer.
  target m.keys.asked '>=' 1000000 "searches asked, no two the same"
  target m.keys.growth_mb '<=' 96 "a million different searches: growth of memory, MB"
  target ratios.m_orders_flooded_to_alone '>=' 0.98 "pages flooded: orders accepted to without"
  target ratios.m_orders_flooded_p99_to_alone '<=' 1.5 "pages flooded: p99 of an order to without"
  target ratios.m_orders_apart_flooded_p99_to_alone '<=' 1.5 "the same on a core of its own"
  for run in saturated hung; do
    target "ratios.m_reading_${run}_to_idle" '<=' 1.5 "a page's p99, $run, to idle"
    target "ratios.m_reading_${run}_to_spinning" '<=' 1.5 "a page's p99, $run, to cores that are busy with something else"
    target "ratios.m_reading_apart_${run}_to_idle" '<=' 1.5 "a page's p99, $run, to idle, on a core of its own"
    target "m.reading.$run.refused" '<=' 0 "a page, $run: errors"
    target "m.reading.apart_$run.refused" '<=' 0 "a page, $run: errors, on a core of its own"
    target "ratios.m_reading_rate_${run}_to_idle" '>=' 0.9 "pages read, $run, to idle"
  done
  target m.change.p99_ms '<=' 1500 "from an edit's answer to its price everywhere, p99, ms"
  target m.change.max_ms '<=' 2000 "from an edit's answer to its price everywhere, slowest, ms"
  target m.change.went_back '<=' 0 "an old price after the new one"
  for role in "${all_roles[@]}" parker ops all; do
    target "h.$role.peak_mb" '<=' 50 "memory under load, $role, MB resident"
    target "h.$role.ready_ms" '<=' 1000 "start-up until ready, $role, ms"
  done
}

# Nests the paths: a.b 1 becomes {"a": {"b": 1}}, in the order of their first appearance.
write_json() {
  awk -F '\t' '
    {
      parts = split($1, part, "."); path = ""
      for (i = 1; i <= parts; i++) {
        parent = path; path = (path == "" ? "" : path ".") part[i]
        if (!(path in name)) { name[path] = part[i]; kids[parent] = kids[parent] " " path }
      }
      leaf[path] = $2
    }
    function emit(path, indent,   count, kid, i) {
      if (path in leaf) { printf "%s", leaf[path]; return }
      count = split(kids[path], kid, " ")
      printf "{"
      for (i = 1; i <= count; i++) {
        printf "%s\n%s  \"%s\": ", (i > 1 ? "," : ""), indent, name[kid[i]]
        emit(kid[i], indent "  ")
      }
      printf "\n%s}", indent
    }
    END { emit("", ""); print "" }
  ' "$notes" >"$1"
}

# Where the CPU goes: a column for each run, a line for each process.
print_cpu() {
  [ -s "$cpu_notes" ] || return 0
  printf '\nWhere the CPU goes, microseconds per order (f and g.f: per page event)\n\n'
  awk -F '\t' '
    !($1 in run) { run[$1] = ++runs; title[runs] = $1 }
    !($2 in process) { process[$2] = ++processes; name[processes] = $2 }
    { us[process[$2], run[$1]] = $3 }
    END {
      for (j = 1; j <= processes; j++) {
        # Threads stand below their process, and what is summed up comes last.
        if (name[j] ~ /^(other|total|cores)$/ || name[j] ~ /:/) continue
        order[++lines] = j
        for (k = 1; k <= processes; k++) if (index(name[k], name[j] ":") == 1) order[++lines] = k
      }
      split("other total cores", last, " ")
      for (j = 1; j <= 3; j++) if (last[j] in process) order[++lines] = process[last[j]]
      # Five columns at once fit a terminal.
      for (first = 1; first <= runs; first += 5) {
        printf "%-22s", ""
        for (i = first; i <= runs && i < first + 5; i++) printf "%16s", title[i]
        print ""
        for (j = 1; j <= lines; j++) {
          label = name[order[j]]
          if (label ~ /:/) { sub(/^.*:/, "  . ", label) }
          printf "%-22s", label
          for (i = first; i <= runs && i < first + 5; i++) printf "%16s", ((order[j], i) in us ? us[order[j], i] : "")
          print ""
        }
        print ""
      }
    }
  ' "$cpu_notes"
  printf 'other: the kernel for itself, this script, and whatever else ran. cores: how many were busy.\n'
}

report() {
  published_marks
  ratios
  targets
  write_json "$out"
  printf '\n'
  cat "$table"
  print_cpu
  if [ -s "$verdicts" ]; then
    printf '\nTargets (2 cores, everything including the load on one machine)\n\n'
    cat "$verdicts"
  fi
  printf '\nAll figures and ratios: %s\n' "$out"
}

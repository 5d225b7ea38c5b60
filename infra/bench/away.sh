# shellcheck shell=bash
# Section l: Redis, the database and RabbitMQ away, one after the other, every role at work. Part of ../bench.sh.
#
# A part is killed where it stands, and comes back with its data. The rate is far below what can be sustained: what is
# compared is the time that an order takes, in one process, before, during and after. Without the database the rate is
# compared, too, at as much as 64 connections can post.

away_rate=500

section_l() {
  database_away_at_full_rate
  shop_open servers l
  roles_start "${all_roles[@]}"
  # The first connections and allocations are not what is measured.
  offer "${ports[ingress]}" "$away_rate" 2 1000
  away_taken=$(json_number "$scratch/load.json" accepted)
  away redis redis "$MILLPOND_TEST_REDIS_PID" KILL
  # SIGQUIT: "immediate", without a checkpoint, as after a crash.
  away database postgres "$(env_pid MILLPOND_TEST_PG_PID)" QUIT
  all_confirmed l.database "$away_taken" "the absence of database"
  without_rabbit
  shop_close
}

# At the usual rate: `usual PATH LABEL`.
usual() {
  offer "${ports[ingress]}" "$away_rate" $((seconds * 2)) 1000
  away_taken=$((away_taken + $(json_number "$scratch/load.json" accepted)))
  note "$1.accepted_per_s" "${offered[per_s]}"
  note "$1.p50_ms" "${offered[p50_ms]}"
  figure "$1.p99_ms" "${offered[p99_ms]}" ms "$2, p99 of an accepted order at $away_rate/s"
}

# away NAME SERVER PID SIGNAL: what accepting costs before, while that server is away, and after.
away() {
  usual "l.$1.before" "before $1 goes away"
  kill -s "$4" "$3"
  until_gone "$2"
  usual "l.$1.during" "without $1"
  servers_back
  usual "l.$1.after" "with $1 back"
  figure "l.$1.p99_ratio" \
    "$(calc 3 "$(noted "l.$1.during.p99_ms") / (($(noted "l.$1.before.p99_ms") + $(noted "l.$1.after.p99_ms")) / 2)")" \
    times "without $1, p99 to the mean of before and after"
  figure "l.$1.rate_ratio" "$(calc 3 "$(noted "l.$1.during.accepted_per_s") / $(noted "l.$1.before.accepted_per_s")")" \
    times "without $1, orders accepted to before"
}

until_gone() {
  local dir=$scratch/services
  while running "$1" >/dev/null; do sleep 0.05; done
}

# What died comes back where it was.
servers_back() { "$root/infra/services.sh" up --dir "$scratch/services" 2>/dev/null; }

# all_confirmed PATH ORDERS ABSENCE: so many orders that were accepted so far are in the database, and nothing is parked.
all_confirmed() {
  until_at_least "SELECT count(*) FROM orders" "$2" $((seconds * 10 + 60)) ||
    say "  not every accepted order is there yet"
  figure "$1.not_confirmed" "$(($2 - $(sql "SELECT count(*) FROM orders WHERE state = 'confirmed'")))" orders \
    "accepted around $3 and not confirmed"
  figure "$1.parked" "$(($(metric checkout millpond_worker_settled_messages_total 'outcome="parked"')))" orders \
    "parked around $3"
}

# What an ingress alone accepts, as in section b, before and after; and meanwhile with the database away and every role
# waiting for it. Nobody stores an order in any of the three, so that they differ by the database alone and by what it costs
# to wait for it. What was accepted is stored in between, so that none begins with another's orders in the queue.
database_away_at_full_rate() {
  local path=l.database_full role
  shop_open servers l-full
  roles_start ingress
  # The first connections and allocations are not what is measured.
  hammer "${ports[ingress]}" orders.lua 1 "$api_key" warm HOT
  at_full_rate before "the database there, an ingress alone"
  roles_start "${all_roles[@]:1}"
  until_at_least "SELECT count(*) FROM revenue_seen" "$(confirmed_publishes)" $((seconds * 10 + 60)) ||
    say "  the first orders are not stored yet"
  kill -s QUIT "$(env_pid MILLPOND_TEST_PG_PID)"
  until_gone postgres
  at_full_rate during "without the database, every role waits"
  servers_back
  all_confirmed "$path" "$(confirmed_publishes)" "its absence at full rate"
  for role in "${all_roles[@]:1}"; do role_stop "$role"; done
  at_full_rate after "the database back, an ingress alone"
  figure "$path.rate_ratio" \
    "$(calc 3 "$(noted "$path.during.per_s") / (($(noted "$path.before.per_s") + $(noted "$path.after.per_s")) / 2)")" \
    times "without the database, at full rate, to the mean of before and after"
  shop_close
}

# at_full_rate NAME LABEL: for 10 s at most, since all of it has to be stored afterwards.
at_full_rate() {
  hammer "${ports[ingress]}" orders.lua $((seconds < 10 ? seconds : 10)) "$api_key" "$1" HOT
  note "l.database_full.$1.refused" "${hammered[refused]}"
  note "l.database_full.$1.p99_ms" "${hammered[p99_ms]}"
  figure "l.database_full.$1.per_s" "${hammered[per_s]}" orders/s "64 connections, $2"
}

# Orders that RabbitMQ has confirmed to the ingress: each is a message, as no key comes twice. wrk says nothing of those that
# it cuts off at its end.
confirmed_publishes() {
  metric ingress millpond_messaging_client_sent_messages_total 'broker="orders"' 'outcome="confirmed"'
}

# What a refusal takes, from outside, one order at a time; the first of them while nobody knows yet.
without_rabbit() {
  local n status took answers=$shop/answers
  kill -s KILL "$(env_pid MILLPOND_TEST_RABBIT_PID)"
  for ((n = 0; n < seconds * 20; n++)); do
    curl --silent --output /dev/null --write-out '%{http_code} %{time_total}\n' --max-time 30 \
      --header "Authorization: Bearer $api_key" --header "Idempotency-Key: away-$n" \
      --header 'Content-Type: application/json' \
      --data '{"currency":"EUR","total_minor":1450,"lines":[{"sku":"HOT","quantity":1,"unit_price_minor":1450}]}' \
      "http://127.0.0.1:${ports[ingress]}/v1/orders"
  done >"$answers"
  figure l.rabbitmq.accepted "$(awk '$1 == 202' "$answers" | wc -l)" orders "answered 202 without RabbitMQ"
  figure l.rabbitmq.refused "$(awk '$1 == 503' "$answers" | wc -l)" orders "answered 503 without RabbitMQ"
  while read -r status took; do
    [ "$status" != 503 ] || calc 3 "$took * 1000"
    echo
  done <"$answers" | sed '/^$/d' >"$answers.ms"
  figure l.rabbitmq.p99_ms "$(percentile 99 <"$answers.ms")" ms "503 without RabbitMQ, p99"
  figure l.rabbitmq.max_ms "$(percentile 100 <"$answers.ms")" ms "503 without RabbitMQ, slowest"
  servers_back
}

# The pids of servers that came back stand in the environment file anew.
env_pid() { "$root/infra/services.sh" env --dir "$scratch/services" | sed -n "s/^export $1=//p"; }

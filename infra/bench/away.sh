# shellcheck shell=bash
# Section l: Redis, the database and RabbitMQ away, one after the other, every role at work. Part of ../bench.sh.
#
# A part is killed where it stands, and comes back with its data. The rate is far below what can be sustained: what is
# compared is the time that an order takes, in one process, before, during and after.

away_rate=500

section_l() {
  shop_open servers l
  roles_start "${all_roles[@]}"
  # The first connections and allocations are not what is measured.
  offer "${ports[ingress]}" "$away_rate" 2 1000
  away_taken=$(json_number "$scratch/load.json" accepted)
  away redis redis "$MILLPOND_TEST_REDIS_PID" KILL
  # SIGQUIT: "immediate", without a checkpoint, as after a crash.
  away database postgres "$MILLPOND_TEST_PG_PID" QUIT
  all_confirmed database
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

# all_confirmed NAME: every order that was accepted so far is in the database, and nothing is parked.
all_confirmed() {
  until_at_least "SELECT count(*) FROM orders" "$away_taken" $((seconds * 10 + 60)) ||
    say "  not every accepted order is there yet"
  figure "l.$1.not_confirmed" "$((away_taken - $(sql "SELECT count(*) FROM orders WHERE state = 'confirmed'")))" orders \
    "accepted around the absence of $1 and not confirmed"
  figure "l.$1.parked" "$(($(metric checkout millpond_worker_settled_messages_total 'outcome="parked"')))" orders \
    "parked around the absence of $1"
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

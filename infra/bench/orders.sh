# shellcheck shell=bash
# Sections b and d: orders in, and a backlog of them out; section g does both on embedded parts. Part of ../bench.sh.

section_b() {
  accept_orders b servers ingress "POST /v1/orders"
  bare_confirms "$(noted b.half.offered_per_s)"
}

# What a confirm takes at that rate with nothing of Millpond around it: it is a part of every answer.
bare_confirms() {
  rabbit_api PUT vhosts/bench-raw
  rabbit_api PUT permissions/bench-raw/millpond '{"configure":".*","write":".*","read":".*"}'
  timed $((seconds * 4 + 60)) "$examples/raw_amqp" pace "$MILLPOND_TEST_AMQP_URL/bench-raw" "$1" $((seconds * 2))
  figure b.half.raw_p50_ms "$(raw p50_ms)" ms "raw lapin, confirmed publishes at that rate, p50"
  figure b.half.raw_p99_ms "$(raw p99_ms)" ms "raw lapin, confirmed publishes at that rate, p99"
  rabbit_api DELETE vhosts/bench-raw
}

# accept_orders PATH servers|embedded ROLE LABEL: as many as 64 connections can post, then half of that at a constant rate.
accept_orders() {
  local path=$1 role=$3 label=$4 rate
  shop_open "$2" "${path//[._]/-}"
  roles_start "$role"
  # The first connections and allocations are not what is measured.
  hammer "${ports[$role]}" orders.lua 1 "$api_key" warm HOT
  cpu_begin
  hammer "${ports[$role]}" orders.lua "$seconds" "$api_key" full HOT
  cpu_end "$path" "${hammered[accepted]}" wrk
  figure "$path.per_s" "${hammered[per_s]}" orders/s "$label, accepted, 64 connections"
  figure "$path.p99_ms" "${hammered[p99_ms]}" ms "$label, p99 at that rate"
  note "$path.refused" "${hammered[refused]}"

  rate=$(calc 0 "${hammered[per_s]} / 2")
  # What a hammered process has still in hand belongs to nobody's latency.
  until_idle "$role"
  cpu_begin
  offer "${ports[$role]}" "$rate" $((seconds * 2)) HOT
  cpu_end "$path.half" "$(calc 0 "${offered[per_s]} * $seconds * 2")" load
  note "$path.half.offered_per_s" "$rate"
  note "$path.half.per_s" "${offered[per_s]}"
  figure "$path.half.p50_ms" "${offered[p50_ms]}" ms "$label, p50 at half of that rate ($rate/s, open loop)"
  figure "$path.half.p99_ms" "${offered[p99_ms]}" ms "$label, p99 at half of that rate"
  shop_close
}

# `all` has a backlog to work off; an ingress alone has none.
until_idle() {
  if [ "$1" = ingress ]; then return 0; fi
  local sold before=-1
  sold=$(sql "SELECT sum(reserved) FROM stock")
  local deadline=$((SECONDS + seconds * 10))
  while [ "$sold" != "$before" ] && [ $SECONDS -lt $deadline ]; do
    before=$sold
    sleep 1
    sold=$(sql "SELECT sum(reserved) FROM stock")
  done
}

# Syncs and bytes of the database's log so far.
wal() { server_sql "SELECT wal_sync || ' ' || wal_bytes FROM pg_stat_wal"; }

section_d() {
  drain d.hot servers HOT "one hot SKU"
  drain d.spread servers 1000 "1,000 SKUs"
}

# drain PATH servers|embedded SKUS LABEL: a backlog posted while no checkout runs, then one checkout and nothing else. The
# ingress has ended by then, also because one process alone may hold an embedded queue's file.
drain() {
  local path=$1 run=${1//[._]/-} backlog log='' orders
  shop_open "$2" "$run"
  roles_start ingress
  hammer "${ports[ingress]}" orders.lua "$seconds" "$api_key" "$run" "$3"
  backlog=${hammered[accepted]}
  role_stop ingress
  if [ "$kind" = servers ]; then
    server_sql CHECKPOINT
    log=$(wal)
  fi
  cpu_begin
  roles_start checkout
  until_at_least "SELECT sum(reserved) FROM stock" "$backlog" $((seconds * 10 + 30)) ||
    say "  the backlog is not drained yet: measured over what is"
  orders=$(sql "SELECT count(*) FROM orders")
  cpu_end "$path" "$orders" ""
  if [ "$kind" = servers ]; then log_of_orders "$path" "$orders" "$log" "$4"; fi
  note "$path.backlog" "$backlog"
  figure "$path.per_s" "$(rows_rate orders created_at)" orders/s "drain of a backlog by one checkout, $4"
  shop_close
}

# log_of_orders PATH ORDERS BEFORE LABEL: what PostgreSQL's log took for so many orders, since `wal` said BEFORE.
log_of_orders() {
  local syncs bytes after_syncs after_bytes
  # Shown within a second by whoever wrote it.
  sleep 2
  read -r syncs bytes <<<"$3"
  read -r after_syncs after_bytes < <(wal)
  [ "$after_syncs" = "$syncs" ] ||
    figure "$1.orders_per_sync" "$(calc 0 "$2 / ($after_syncs - $syncs)")" orders "written with one sync of the log, $4"
  figure "$1.wal_bytes_per_order" "$(calc 0 "($after_bytes - $bytes) / $2")" bytes "of the database's log for an order, $4"
}

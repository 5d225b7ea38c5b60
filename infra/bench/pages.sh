# shellcheck shell=bash
# Section m: pages from the cache, apart from orders, and how soon a new price is everywhere. Part of ../bench.sh.

# Searches that nobody asked for before, all different.
page_keys=1000000
# Orders/s that are offered while pages are flooded: far below what can be sustained.
apart_rate=300

section_m() {
  shop_open servers m
  # As an operator is told to run it: the cache is what may go.
  redis_command CONFIG SET maxmemory 256mb
  redis_command CONFIG SET maxmemory-policy allkeys-lru
  cached_pages
  many_keys
  shop_close
  shop_open servers m-apart
  pages_apart
  shop_close
  shop_open servers m-change
  changed_prices
  shop_close
  redis_command CONFIG SET maxmemory 0
}

# A page of the shop and a product for programs, each against a bare route that answers with as many bytes, in turns.
cached_pages() {
  roles_start storefront
  against_bare page "/products/HOT" "a product's page"
  against_bare json "/v1/products/HOT" "a product as JSON"
}

against_bare() {
  local name=$1 path=$2 label=$3 port=${ports[storefront]} bytes etag bare n ours theirs kind_of words
  bytes=$(curl --silent --fail --output /dev/null --write-out '%{size_download}' "http://127.0.0.1:$port$path")
  etag=$(curl --silent --fail --dump-header - --output /dev/null "http://127.0.0.1:$port$path" |
    sed -n 's/^etag: \(.*\)\r$/\1/p')
  rm -f "$shop/bare.log"
  launch "$shop/bare.log" "$examples/bare_route" "$bytes"
  remember bare "$launched"
  watch bare "$launched"
  roles+=(bare)
  until [ -s "$shop/bare.log" ]; do sleep 0.05; done
  bare=$(head -n 1 "$shop/bare.log")
  note "m.$name.bytes" "$bytes"
  for kind_of in page held; do
    ours=0 theirs=0
    for n in 1 2; do
      hammer "$bare" pages.lua "$seconds" page "/$kind_of"
      theirs=$(calc 1 "$theirs + ${hammered[per_s]} / 2")
      cpu_begin
      if [ "$kind_of" = page ]; then
        hammer "$port" pages.lua "$seconds" page "$path"
      else
        hammer "$port" pages.lua "$seconds" held "$path" "$etag"
      fi
      cpu_end "m.$name.$kind_of" "${hammered[accepted]}" wrk
      ours=$(calc 1 "$ours + ${hammered[per_s]} / 2")
    done
    words="$label, $bytes bytes"
    [ "$kind_of" = page ] || words="$label, 304"
    figure "m.$name.$kind_of.bare_per_s" "$theirs" answers/s "bare axum, as many bytes ($kind_of)"
    figure "m.$name.$kind_of.per_s" "$ours" answers/s "$words, 64 connections"
    figure "m.$name.$kind_of.p99_ms" "${hammered[p99_ms]}" ms "$words, p99 at that rate"
    ratio "m_${name}_${kind_of}_to_bare" "m.$name.$kind_of.per_s" "m.$name.$kind_of.bare_per_s"
  done
  role_stop bare
}

# Memory while more pages are asked for than any memory holds.
many_keys() {
  local keys=$page_keys asked=0 run=0 deadline
  # A short bench is for trying the bench.
  [ "$seconds" -ge 10 ] || keys=$((seconds * 5000))
  deadline=$((SECONDS + seconds * 90))
  figure m.keys.before_mb "$(memory storefront VmRSS)" MB "memory of the storefront before a flood of searches"
  while [ "$asked" -lt "$keys" ] && [ $SECONDS -lt $deadline ]; do
    run=$((run + 1))
    hammer "${ports[storefront]}" pages.lua "$seconds" flood "k$run"
    asked=$((asked + hammered[accepted] + hammered[refused]))
  done
  figure m.keys.asked "$asked" searches "searches, no two the same"
  figure m.keys.per_s "${hammered[per_s]}" answers/s "such searches answered, 64 connections"
  figure m.keys.after_mb "$(memory storefront VmRSS)" MB "memory of the storefront after them"
  note m.keys.peak_mb "$(memory storefront VmHWM)"
  note m.keys.held_bytes "$(metric storefront millpond_pages_held_bytes)"
  figure m.keys.growth_mb "$(calc 1 "$(noted m.keys.after_mb) - $(noted m.keys.before_mb)")" MB "its growth (64 MB of pages are kept)"
}

# Reading and ordering beside each other.
pages_apart() {
  roles_start ingress storefront checkout relay invalidation
  offer "${ports[ingress]}" "$apart_rate" 2 1000
  orders_while alone "nobody reads"
  flood_start
  orders_while flooded "pages are flooded"
  stop flood TERM
  orders_while after "nobody reads any more"
  ratio m_orders_flooded_p99_to_alone m.orders.flooded.p99_ms m.orders.alone.p99_ms
  ratio m_orders_flooded_to_alone m.orders.flooded.per_s m.orders.alone.per_s

  pages_while idle "nothing else happens"
  # What busy cores alone cost a reader.
  spin_start
  pages_while spinning "every core is busy with something else"
  spin_stop
  pages_on_their_own_core
  pages_beside_orders "" ""
  ratio m_reading_spinning_to_idle m.reading.spinning.p99_ms m.reading.idle.p99_ms
  ratio m_reading_saturated_to_spinning m.reading.saturated.p99_ms m.reading.spinning.p99_ms
  ratio m_reading_hung_to_spinning m.reading.hung.p99_ms m.reading.spinning.p99_ms
  ratio m_reading_saturated_to_idle m.reading.saturated.p99_ms m.reading.idle.p99_ms
  ratio m_reading_hung_to_idle m.reading.hung.p99_ms m.reading.idle.p99_ms
  ratio m_reading_rate_saturated_to_idle m.reading.saturated.per_s m.reading.idle.per_s
  ratio m_reading_rate_hung_to_idle m.reading.hung.per_s m.reading.idle.per_s
}

# The same as if reading had a machine of its own: its readers and the storefront on the first core, everything else on the
# second. What is left of a difference comes from what they share, and not from who gets the processor.
pages_on_their_own_core() {
  own_core storefront || return 0
  readers_at=(taskset --cpu-list 0) orders_at=(taskset --cpu-list 1)
  orders_while apart_alone "nobody reads, on a core of their own"
  flood_start
  orders_while apart_flooded "pages are flooded, on a core of their own"
  stop flood TERM
  pages_while apart_idle "nothing else happens, on a core of their own"
  pages_beside_orders apart_ ", on a core of their own"
  readers_at=() orders_at=()
  every_core
  ratio m_orders_apart_flooded_p99_to_alone m.orders.apart_flooded.p99_ms m.orders.apart_alone.p99_ms
  ratio m_reading_apart_saturated_to_idle m.reading.apart_saturated.p99_ms m.reading.apart_idle.p99_ms
  ratio m_reading_apart_hung_to_idle m.reading.apart_hung.p99_ms m.reading.apart_idle.p99_ms
}

# What their clients begin with: a core, where they have one of their own.
readers_at=() orders_at=()
# Everything that checkout can do, and more than it can; then with a database that hangs as well.
pages_beside_orders() {
  launch "$shop/orders.log" "${orders_at[@]}" wrk --threads 1 --connections 64 --duration "$((seconds * 2 + 10))s" --timeout 10s \
    --script "$root/infra/bench/orders.lua" "http://127.0.0.1:${ports[ingress]}" -- "$api_key" m HOT
  remember orders "$launched"
  pages_while "$1saturated" "checkout has more orders than it can take$2"
  hung=1
  database_signal STOP
  pages_while "$1hung" "the same, and the database hangs$2"
  database_signal CONT
  hung=
  stop orders TERM
}

orders_while() {
  client_at=("${orders_at[@]}")
  offer "${ports[ingress]}" "$apart_rate" $((seconds * 2)) 1000
  client_at=()
  figure "m.orders.$1.per_s" "${offered[per_s]}" orders/s "orders accepted while $2 ($apart_rate/s offered)"
  figure "m.orders.$1.p99_ms" "${offered[p99_ms]}" ms "orders while $2, p99"
}

flood_start() {
  launch "$shop/flood.log" "${readers_at[@]}" wrk --threads 1 --connections 64 --duration "$((seconds * 4 + 60))s" --timeout 10s \
    --script "$root/infra/bench/pages.lua" "http://127.0.0.1:${ports[storefront]}" -- flood apart
  remember flood "$launched"
}

# Some 200 readers a second of one page; what one of them waits.
pages_while() {
  client_at=("${readers_at[@]}")
  timed $((seconds + 30)) wrk --threads 1 --connections 4 --duration "${seconds}s" --timeout 10s --latency \
    --script "$root/infra/bench/pages.lua" "http://127.0.0.1:${ports[storefront]}" -- page /products/HOT 20
  client_at=()
  figure "m.reading.$1.p50_ms" "$(raw p50_ms)" ms "a page while $2, p50"
  figure "m.reading.$1.p99_ms" "$(raw p99_ms)" ms "a page while $2, p99"
  [ "$(raw accepted)" -gt 0 ] || die "no page was answered while $2"
  # Who gets no answer at all is in no percentile: the rate says so.
  figure "m.reading.$1.per_s" "$(raw per_s)" answers/s "a page while $2, by 4 readers with pauses of 20 ms"
  figure "m.reading.$1.refused" "$(($(raw refused) + $(raw broken)))" answers "a page while $2, errors"
}

# PostgreSQL and all of its children: they neither answer nor end. It may be another one than at the start: section l ends it.
database_signal() {
  local pid postmaster
  postmaster=$(env_pid MILLPOND_TEST_PG_PID)
  for pid in "$postmaster" $(cat "/proc/$postmaster/task/"*/children); do
    kill -s "$1" "$pid" 2>/dev/null || true
  done
  [ "$1" = STOP ] || return 0
  [ "$(awk '{ print $3 }' "/proc/$postmaster/stat")" = T ] || die "PostgreSQL could not be stopped"
}

# From an edit's answer until nobody serves the old price: three replicas, and a Varnish that asks the third.
changed_prices() {
  local edit_key edits=$((seconds * 10)) settings
  "$root/infra/services.sh" up --varnish --dir "$scratch/services" 2>/dev/null
  settings=$("$root/infra/services.sh" env --varnish --dir "$scratch/services")
  eval "$settings"
  printf '[invalidation.cdn.edge]\nurls = ["%s"]\n' "$MILLPOND_TEST_VARNISH_URL" >>"$shop/millpond.toml"
  edit_key=$(verb keys create --name edits --market main --scope catalogue 2>/dev/null)
  roles_start storefront storefront-2 relay invalidation
  MILLPOND__HTTP__BIND=$MILLPOND_TEST_VARNISH_BACKEND roles_start storefront-3
  timed $((edits * 5 + 120)) "$examples/price_probe" "$edit_key" HOT "$edits" "http://127.0.0.1:${ports[storefront]}" \
    "http://127.0.0.1:${ports[storefront-2]}" "http://127.0.0.1:${ports[storefront-3]}" "$MILLPOND_TEST_VARNISH_URL"
  figure m.change.p50_ms "$(raw p50_ms)" ms "a new price on 3 replicas and a Varnish, p50 of $edits edits"
  figure m.change.p99_ms "$(raw p99_ms)" ms "a new price on 3 replicas and a Varnish, p99"
  figure m.change.max_ms "$(raw max_ms)" ms "a new price on 3 replicas and a Varnish, slowest"
  figure m.change.went_back "$(raw went_back)" times "an old price after the new one"
}

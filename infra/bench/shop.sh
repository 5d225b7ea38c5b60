# shellcheck shell=bash
# A shop to measure: its configuration, its processes, its database. Part of ../bench.sh.

all_roles=(ingress storefront checkout relay analytics invalidation)

# shop_open servers|embedded NAME: everything that comes before the first role. Sets `shop`, `kind`, `api_key`. A budget for
# the database comes from `budget`, where it is not empty.
kind= budget=
shop_open() {
  kind=$1
  shop=$scratch/shop-$2
  mkdir "$shop"
  dir=$shop
  if [ "$kind" = servers ]; then
    shop_name=bench-$2
    rabbit_api PUT "vhosts/$shop_name"
    rabbit_api PUT "permissions/$shop_name/millpond" '{"configure":".*","write":".*","read":".*"}'
    server_sql "CREATE DATABASE \"$shop_name\""
    database_url=${MILLPOND_TEST_POSTGRES_URL%/*}/$shop_name
  fi
  configuration >"$shop/millpond.toml"
  verb keys token >/dev/null
  [ "$kind" = embedded ] || verb migrate >/dev/null
  api_key=$(verb keys create --name bench --market main 2>/dev/null)
  catalogue >"$shop/products.csv"
  verb import products.csv >/dev/null
}

# Every limit as it comes, so that what is measured is what people get; no budget is what comes, too.
configuration() {
  printf '[http]\nbind = "127.0.0.1:0"\n[ops]\nbind = "127.0.0.1:0"\n'
  [ "$kind" = servers ] || return 0
  cat <<-END
	[broker]
	orders = "$MILLPOND_TEST_AMQP_URL/$shop_name"
	[store.database.main]
	url = "$database_url"
	budget = "${budget:-unlimited}"
	[cache]
	url = "$MILLPOND_TEST_REDIS_URL"
	key_prefix = "$shop_name:"
	END
}

# More than any run can sell.
catalogue() {
  echo sku,title,price,on_hand
  echo HOT,Flash sale,14.50,1000000000
  awk 'BEGIN { for (n = 1; n <= 1000; n++) printf "SKU-%d,Product %d,14.50,1000000000\n", n, n }'
}

verb() { (cd "$shop" && "$millpond" --config millpond.toml "$@" 2>"$shop/verb.log") || { cat "$shop/verb.log" >&2; return 1; }; }

# Stops what runs, and gives the disk back.
shop_close() {
  roles_stop
  if [ "$kind" = servers ]; then
    rabbit_api DELETE "vhosts/$shop_name"
    server_sql "DROP DATABASE \"$shop_name\" WITH (FORCE)"
    redis_flush
  fi
  rm -rf "$shop"
  kind=
}

# role_start NAME: a process with that role (`all`: every one), which role_ready waits for. What follows a hyphen tells
# several of one role apart: checkout-2.
declare -A ports began_us
roles=()
role_start() {
  # The port of an earlier start stands in the log.
  rm -f "$shop/$1.log"
  began_us[$1]=${EPOCHREALTIME/[.,]/}
  launch "$shop/$1.log" env -C "$shop" "$millpond" --config millpond.toml run "${1%%-*}"
  remember "$1" "$launched"
  watch "$1" "$launched"
  roles+=("$1")
}

# Sets ports[NAME], and `ready_ms`: from its start to the first 200 of /readyz.
role_ready() {
  local log deadline=$((SECONDS + 60))
  unset "ports[$1]"
  until [ -n "${ports[$1]:-}" ] && [ "$(http_status "${ports[$1]}" /readyz)" = 200 ]; do
    running "$1" >/dev/null || { tail -n 20 "$shop/$1.log" >&2; die "the role $1 ended"; }
    [ $SECONDS -lt $deadline ] || { tail -n 20 "$shop/$1.log" >&2; die "the role $1 is not ready after a minute"; }
    sleep 0.01
    log=$(<"$shop/$1.log")
    [[ ! $log =~ listening\ on\ http://127\.0\.0\.1:([0-9]+) ]] || ports[$1]=${BASH_REMATCH[1]}
  done
  ready_ms=$(((${EPOCHREALTIME/[.,]/} - began_us[$1]) / 1000))
}

roles_start() {
  local role
  for role in "$@"; do role_start "$role"; done
  for role in "$@"; do role_ready "$role"; done
}

roles_stop() {
  local role
  for role in "${roles[@]}"; do role_stop "$role"; done
}

role_stop() {
  local left=() role
  stop "$1" TERM
  for role in "${roles[@]}"; do [ "$role" = "$1" ] || left+=("$role"); done
  roles=("${left[@]}")
  left=()
  for role in "${watched[@]}"; do [ "${role%:*}" = "$1" ] || left+=("$role"); done
  watched=("${left[@]}")
}

# The status code of a GET, in plain bash: a process more for each look would be measured, too.
http_status() {
  (
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 0
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
    read -r -t 5 -a status_line <&3 && printf %s "${status_line[1]:-}"
  ) || true
}

rabbit_api() {
  curl --silent --show-error --fail --request "$1" --header 'Content-Type: application/json' --data "${3:-}" \
    "$MILLPOND_TEST_AMQP_API/api/$2"
}

redis_flush() { redis_command FLUSHALL; }

# One command, which answers with one line.
redis_command() {
  local authority=${MILLPOND_TEST_REDIS_URL##*@} secret=${MILLPOND_TEST_REDIS_URL#*://default:}
  (
    exec 3<>"/dev/tcp/${authority%:*}/${authority#*:}"
    printf 'AUTH %s\r\n%s\r\n' "${secret%@*}" "$*" >&3
    read -r -t 10 <&3 && read -r -t 10 <&3
  )
}

server_sql() { "$MILLPOND_TEST_PG_BIN/psql" "$MILLPOND_TEST_POSTGRES_URL" -AtXq -v ON_ERROR_STOP=1 -c "$1"; }

# A query on the shop's database; columns are separated by spaces.
sql() {
  if [ "$kind" = servers ]; then
    "$MILLPOND_TEST_PG_BIN/psql" "$database_url" -AtXq -F ' ' -v ON_ERROR_STOP=1 -c "$1"
  else
    sqlite3 -readonly -separator ' ' -cmd '.timeout 5000' "$shop/millpond-data/millpond.db" "$1"
  fi
}

# Seconds since 1970 of a column, as both databases spell it.
epoch() {
  if [ "$kind" = servers ]; then echo "extract(epoch FROM $1)"; else echo "((julianday($1) - 2440587.5) * 86400.0)"; fi
}

# The whole part of a number that is not below 0.
whole() { if [ "$kind" = servers ]; then echo "floor($1)"; else echo "CAST($1 AS int)"; fi; }

# Until `sql QUERY` gives at least GOAL, or for LIMIT seconds. Says whether it did.
until_at_least() {
  local query=$1 goal=$2 deadline=$((SECONDS + $3))
  until [ "$(sql "$query")" -ge "$goal" ]; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.3
  done
}

# rows_rate TABLE COLUMN: rows/s from the first batch to the last, by the database's own clock. The first batch is where
# the time begins, so its rows are not counted.
rows_rate() {
  sql "WITH span AS (SELECT min($2) AS first, max($2) AS last FROM $1)
    SELECT count(*) / NULLIF(max($(epoch last)) - max($(epoch first)), 0) FROM $1, span WHERE $2 > first" |
    awk '{ printf "%.1f", $1 }'
}

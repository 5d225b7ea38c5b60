# shellcheck shell=bash
# Section k: a million messages through an outbox, two relays at it, and what is left of them. Part of ../bench.sh.
#
# The broker confirms at once, so that what is measured is the outbox. PostgreSQL clears dead rows away when autovacuum comes
# round, once in `autovacuum_naptime`: first as PostgreSQL is delivered (1min), then with what infra/RABBITMQ.md advises.

outbox_rows=1000000

section_k() {
  local rows=$outbox_rows
  # A short bench is for trying the bench.
  [ "$seconds" -ge 10 ] || rows=$((seconds * 20000))
  note k.rows "$rows"
  server_sql 'CREATE DATABASE "bench-outbox"'
  through_outbox k.naptime_1min "$rows" "${MILLPOND_TEST_POSTGRES_URL%/*}/bench-outbox" "PostgreSQL as it is delivered"
  server_sql 'DROP DATABASE "bench-outbox" WITH (FORCE)'
  naptime 10s
  server_sql 'CREATE DATABASE "bench-outbox"'
  through_outbox k.naptime_10s "$rows" "${MILLPOND_TEST_POSTGRES_URL%/*}/bench-outbox" "PostgreSQL, naptime 10s"
  database_url=${MILLPOND_TEST_POSTGRES_URL%/*}/bench-outbox kind=servers
  # Autovacuum has come round once more.
  sleep 22
  figure k.naptime_10s.rest_kb "$(sql "SELECT pg_total_relation_size('outbox') / 1024")" KB \
    "outbox, PostgreSQL, naptime 10s, size 22 s later"
  kind=
  server_sql 'DROP DATABASE "bench-outbox" WITH (FORCE)'
  naptime 1min
  through_outbox k.sqlite "$rows" "sqlite:$scratch/outbox.db" "SQLite"
  rm -f "$scratch/outbox.db"*
}

naptime() {
  server_sql "ALTER SYSTEM SET autovacuum_naptime = '$1'"
  server_sql 'SELECT pg_reload_conf()' >/dev/null
}

# through_outbox PATH ROWS URL LABEL
through_outbox() {
  timed $((seconds * 60 + 300)) "$examples/outbox_flow" "$3" "$2" 300 2
  local name words
  while read -r name words; do
    figure "$1.$name" "$(raw "$name")" "${words%% *}" "outbox, $4, ${words#* }"
  done <<-END
	per_s messages/s $2 messages by two relays
	peak_kb KB largest size with its index
	first_claim_us us a claim before the first
	last_claim_us us a claim at the end
	END
}

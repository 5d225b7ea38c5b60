# shellcheck shell=bash
# Sections a and c: what the servers give to whoever uses them by hand. Part of ../bench.sh.

raw() { awk -v name="$1" '$1 == name { print $2 }' "$said"; }

section_a() {
  local window
  rabbit_api PUT vhosts/bench-raw
  rabbit_api PUT permissions/bench-raw/millpond '{"configure":".*","write":".*","read":".*"}'
  for window in 64 256; do
    cpu_begin
    timed $((seconds + 60)) "$examples/raw_amqp" publish "$MILLPOND_TEST_AMQP_URL/bench-raw" "$window" "$seconds"
    cpu_end "a.window_$window" "$(raw messages)" raw_amqp
    figure "a.window_$window.per_s" "$(raw per_s)" messages/s "raw lapin, confirmed publishes, window $window"
  done
  rabbit_api DELETE vhosts/bench-raw
}

section_c() {
  local batch
  rabbit_api PUT vhosts/bench-raw
  rabbit_api PUT permissions/bench-raw/millpond '{"configure":".*","write":".*","read":".*"}'
  timed $((seconds * 10 + 60)) "$examples/raw_amqp" consume "$MILLPOND_TEST_AMQP_URL/bench-raw" $((seconds * 20000))
  figure c.consume.per_s "$(raw per_s)" messages/s "raw lapin, consumption, one ack for every 500"
  rabbit_api DELETE vhosts/bench-raw
  server_sql 'CREATE DATABASE "bench-raw"'
  for batch in 128 500; do
    cpu_begin
    timed $((seconds + 60)) "$examples/raw_insert" "${MILLPOND_TEST_POSTGRES_URL%/*}/bench-raw" "$batch" "$seconds"
    cpu_end "c.insert_$batch" "$(raw rows)" raw_insert
    figure "c.insert_$batch.per_s" "$(raw per_s)" rows/s "raw UNNEST inserts into orders, $batch a transaction"
  done
  server_sql 'DROP DATABASE "bench-raw" WITH (FORCE)'
}

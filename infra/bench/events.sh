# shellcheck shell=bash
# Section f: page events in, 100 in a request, and into rollups; section g does it on embedded parts. Part of ../bench.sh.

section_f() { page_events f servers ""; }

# page_events PATH servers|embedded PREFIX: taken while no analytics runs, then counted by one and nothing else. PREFIX is what
# the labels begin with.
page_events() {
  local path=$1 prefix=$3 backlog
  shop_open "$2" "${1//[._]/-}"
  roles_start ingress
  hammer "${ports[ingress]}" events.lua 1 "$api_key" warm
  backlog=${hammered[accepted]}
  cpu_begin
  hammer "${ports[ingress]}" events.lua "$seconds" "$api_key" full
  cpu_end "$path.accept" "${hammered[accepted]}" wrk
  backlog=$((backlog + hammered[accepted]))
  figure "$path.accepted_per_s" "${hammered[per_s]}" events/s "${prefix}POST /v1/batch, 100 in a request, confirmed"
  figure "$path.p99_ms" "${hammered[p99_ms]}" ms "${prefix}POST /v1/batch, p99 at that rate"
  note "$path.refused" "${hammered[refused]}"
  role_stop ingress
  [ "$kind" = embedded ] || server_sql CHECKPOINT
  cpu_begin
  roles_start analytics
  until_at_least "SELECT coalesce(sum(events), 0) FROM page_rollups_minute" "$backlog" $((seconds * 5 + 30)) ||
    say "  the backlog is not drained yet: measured over what is"
  cpu_end "$path.count" "$(sql "SELECT count(*) FROM page_events_seen")" ""
  note "$path.backlog" "$backlog"
  figure "$path.counted_per_s" "$(rows_rate page_events_seen seen_at)" events/s "${prefix}drain of a backlog of page events into rollups"
  shop_close
}

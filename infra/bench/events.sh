# shellcheck shell=bash
# Section f: page events in, 100 in a request, and into rollups. Part of ../bench.sh.

section_f() {
  local backlog
  shop_open servers f
  roles_start ingress
  hammer "${ports[ingress]}" events.lua 1 "$api_key" warm
  backlog=${hammered[accepted]}
  cpu_begin
  hammer "${ports[ingress]}" events.lua "$seconds" "$api_key" full
  cpu_end f.accept "${hammered[accepted]}" wrk
  backlog=$((backlog + hammered[accepted]))
  figure f.accepted_per_s "${hammered[per_s]}" events/s "POST /v1/batch, 100 in a request, confirmed"
  figure f.p99_ms "${hammered[p99_ms]}" ms "POST /v1/batch, p99 at that rate"
  note f.refused "${hammered[refused]}"
  role_stop ingress
  server_sql CHECKPOINT
  cpu_begin
  roles_start analytics
  until_at_least "SELECT coalesce(sum(events), 0) FROM page_rollups_minute" "$backlog" $((seconds * 5 + 30)) ||
    say "  the backlog is not drained yet: measured over what is"
  cpu_end f.count "$(sql "SELECT count(*) FROM page_events_seen")" ""
  note f.backlog "$backlog"
  figure f.counted_per_s "$(rows_rate page_events_seen seen_at)" events/s "drain of a backlog of page events into rollups"
  shop_close
}

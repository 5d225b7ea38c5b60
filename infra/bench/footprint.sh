# shellcheck shell=bash
# Section h: start-up, memory, size of the binary. Part of ../bench.sh.

section_h() {
  figure h.binary_mb "$(stat --format %s "$millpond" | awk '{ printf "%.1f", $1 / 1e6 }')" MB "size of the binary"
  footprint servers "${all_roles[@]}" parker ops
  footprint embedded all
}

# footprint servers|embedded ROLE…: with the servers up, the slowest of three starts; memory after some seconds with
# nothing to do, then with as many orders, page events and readers as 64 connections can be. The first role takes orders, the second shows pages.
footprint() {
  local role run slowest port pages
  shop_open "$1" "h-$1"
  shift
  for role in "$@"; do
    slowest=0
    for run in 1 2 3; do
      role_start "$role"
      role_ready "$role"
      note "h.$role.ready_run_${run}_ms" "$ready_ms"
      [ "$slowest" -ge "$ready_ms" ] || slowest=$ready_ms
      role_stop "$role"
    done
    figure "h.$role.ready_ms" "$slowest" ms "start-up until ready, $role"
  done
  roles_start "$@"
  sleep 3
  for role in "$@"; do figure "h.$role.idle_mb" "$(memory "$role" VmRSS)" MB "memory without load, $role"; done
  port=${ports[$1]} pages=${ports[${2:-$1}]}
  hammer "$port" orders.lua "$seconds" "$api_key" h HOT
  hammer "$port" events.lua "$seconds" "$api_key" h
  hammer "$pages" pages.lua "$seconds" page /products/HOT
  for role in "$@"; do
    note "h.$role.loaded_mb" "$(memory "$role" VmRSS)"
    figure "h.$role.peak_mb" "$(memory "$role" VmHWM)" MB "memory under load, its peak, $role"
  done
  shop_close
}

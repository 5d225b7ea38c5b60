# shellcheck shell=bash
# Who runs on which core, and cores that are busy with nothing. Part of ../bench.sh.

# own_core NAME: of what is watched, NAME has the first core by itself, and everything else the second. Status 1 where there is
# one core alone.
own_core() {
  local pair
  if [ "$(nproc)" = 1 ]; then say "  one core: nothing can have its own"; return 1; fi
  for pair in "${watched[@]}"; do
    if [ "${pair%:*}" = "$1" ]; then pin 0 "${pair##*:}"; else pin 1 "${pair##*:}"; fi
  done
}

# What is watched runs anywhere again.
every_core() {
  local pair
  for pair in "${watched[@]}"; do pin "0-$(($(nproc) - 1))" "${pair##*:}"; done
}

# A process, its threads and all that it started stay on those cores. A child may have ended by then; the process itself not.
pin() {
  local child children
  taskset --all-tasks --cpu-list --pid "$1" "$2" >/dev/null
  children=$(cat "/proc/$2/task/"*/children)
  for child in $children; do
    [ ! -d "/proc/$child" ] || pin "$1" "$child" || [ ! -d "/proc/$child" ]
  done
}

# As many loops as there are cores, which share nothing with the shop.
spin_start() {
  local core
  for core in $(seq "$(nproc)"); do
    launch "$shop/spin.log" bash -c 'while :; do :; done'
    remember "spin-$core" "$launched"
  done
}

spin_stop() {
  local core
  for core in $(seq "$(nproc)"); do stop "spin-$core" TERM; done
}

# shellcheck shell=bash
# Finding the servers on this machine, or installing them. Part of ../services.sh.

first_executable() {
  local path
  for path in "$@"; do
    [ -x "$path" ] && printf '%s' "$path" && return
  done
  return 1
}

newest() { printf '%s\n' "$@" | sort -rV; }

# Not Debian's wrapper in /usr/sbin: that one changes to the user of the system's own node.
find_rabbit() {
  # shellcheck disable=SC2046 # one path per word
  first_executable /usr/lib/rabbitmq/bin/rabbitmq-server \
    $(newest /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server) /opt/rabbitmq/sbin/rabbitmq-server
}

find_pg_bin() {
  local postgres
  # shellcheck disable=SC2046 # one path per word
  postgres=$(first_executable $(newest /usr/lib/postgresql/*/bin/postgres) "$(command -v postgres || true)") &&
    dirname "$postgres"
}

find_redis() { command -v redis-server || command -v valkey-server; }

find_epmd() {
  # shellcheck disable=SC2046 # one path per word
  command -v epmd || first_executable $(newest /usr/lib/erlang/erts-*/bin/epmd)
}

find_programs() {
  PATH=$PATH:/usr/sbin:/sbin
  missing=()
  rabbit=$(find_rabbit) || missing+=(rabbitmq-server)
  pg_bin=$(find_pg_bin) || missing+=(postgresql)
  redis=$(find_redis) || missing+=(redis-server)
  if wanted varnish; then
    # shellcheck disable=SC2034 # ../services/varnish.sh starts it
    varnish=$(find_varnish) || missing+=(varnish)
    has_xkey || missing+=(varnish-modules)
  fi
}

find_browser() {
  missing=()
  command -v chromium >/dev/null || missing+=(chromium)
  command -v chromedriver >/dev/null || missing+=(chromium-driver)
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_missing() {
  local by_hand="apt-get install --no-install-recommends ${missing[*]}" policy=/usr/sbin/policy-rc.d log=$dir/apt.log
  command -v apt-get >/dev/null ||
    die "not installed: ${missing[*]}. This machine has no apt: install RabbitMQ 3.10+, PostgreSQL 15+, Redis 7+, and Chromium with its driver"
  as_root true 2>/dev/null ||
    die "not installed: ${missing[*]}. They need root, and sudo asks for a password. Run: sudo $by_hand"
  say "installing ${missing[*]}"
  # The packages would start the system's own services, which nobody asked for. A policy that is there stays.
  local policy_is_ours=
  if [ ! -e $policy ]; then
    policy_is_ours=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
  fi
  local status=0
  {
    as_root apt-get -o DPkg::Lock::Timeout=300 update -q &&
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 </dev/null 9<&- || status=$?
  [ -z "$policy_is_ours" ] || as_root rm -f $policy
  [ $status = 0 ] || failed "apt could not install ${missing[*]} (by hand: $by_hand)" "$log"
}

# shellcheck shell=bash
# A RabbitMQ node of our own, with its own epmd. Part of ../services.sh.

rabbit_config() {
  local home=$dir/rabbit
  mkdir -p "$home/home"
  chmod 700 "$home"
  # The cookie is the key to the node: its own, so that no other node on the machine can be reached or reach it.
  [ -f "$home/home/.erlang.cookie" ] || printf %s "$password" >"$home/home/.erlang.cookie"
  chmod 400 "$home/home/.erlang.cookie"
  echo '[rabbitmq_management].' >"$home/enabled_plugins"
  # The default 50 MB of free disk is too little to notice in time; the default log of 512 MB too much for a scratch
  # directory.
  cat >"$home/rabbitmq.conf" <<-END
	listeners.tcp.1 = 127.0.0.1:$amqp_port
	management.tcp.ip = 127.0.0.1
	management.tcp.port = $api_port
	default_user = millpond
	default_pass = $password
	default_user_tags.administrator = true
	disk_free_limit.absolute = 256MB
	raft.wal_max_size_bytes = 64000000
	log.console = true
	log.console.level = info
	log.file = false
	END
}

# An epmd of our own, on a port of our own: the machine's one may not run, and must not be left running after us.
start_epmd() {
  running epmd >/dev/null && return
  launch "$dir/epmd.log" "$(find_epmd)" -port "$epmd_port" -address 127.0.0.1
  remember epmd "$launched"
  await "epmd" "$launched" "$dir/epmd.log" listens "$epmd_port"
}

start_rabbit() {
  running rabbit >/dev/null && return
  local home=$dir/rabbit log=$dir/rabbit.log
  rabbit_config
  start_epmd
  rm -f "$home/pid"
  # RABBITMQ_CONF_ENV_FILE: not /etc's, which names the system's node. The distribution port and epmd listen on
  # loopback alone.
  launch "$log" env -C "$home" HOME="$home/home" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_NODENAME=millpond@localhost \
    RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" RABBITMQ_ADVANCED_CONFIG_FILE=/dev/null \
    RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
    RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/log" RABBITMQ_PID_FILE="$home/pid" \
    RABBITMQ_DIST_PORT="$dist_port" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
    "$rabbit"
  await RabbitMQ "$launched" "$log" rabbit_is_ready
  # The launched process is a shell script around the node; the node itself is what a test kills.
  remember rabbit "$(cat "$home/pid")"
}

# The AMQP listener opens last in the boot, and the health check speaks of alarms, which would block every publish.
rabbit_is_ready() {
  [ -s "$dir/rabbit/pid" ] && listens "$amqp_port" || return 1
  case $(api_status /api/health/checks/local-alarms) in
    200) return 0 ;;
    503) failed "RabbitMQ raised an alarm, it needs 256 MB of free disk in $dir and free memory" "$dir/rabbit.log" ;;
    *) return 1 ;;
  esac
}

listens() { (exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1"); }

# The status code of a GET on RabbitMQ's HTTP API, in plain bash: a clean machine may lack curl.
api_status() {
  (
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$api_port" || exit 0
    printf 'GET %s HTTP/1.0\r\nAuthorization: Basic %s\r\n\r\n' \
      "$1" "$(printf 'millpond:%s' "$password" | base64 -w 0)" >&3
    read -r -t 10 _ code _ <&3 && printf %s "$code"
  ) || true
}

# shellcheck shell=bash
# A Redis, or Valkey, of our own. Part of ../services.sh.

start_redis() {
  running redis >/dev/null && return
  local home=$dir/redis log=$dir/redis.log
  mkdir -p "$home"
  chmod 700 "$home"
  # Redis is disposable everywhere in Millpond: nothing is written to disk.
  cat >"$home/redis.conf" <<-END
	bind 127.0.0.1
	port $redis_port
	requirepass $password
	dir $home
	save ""
	appendonly no
	daemonize no
	END
  launch "$log" "$redis" "$home/redis.conf"
  remember redis "$launched"
  await Redis "$launched" "$log" redis_is_ready
}

redis_is_ready() {
  local reply
  reply=$(
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$redis_port" || exit 0
    printf 'AUTH %s\r\nPING\r\n' "$password" >&3
    read -r -t 5 _ <&3 && read -r -t 5 pong <&3 && printf %s "$pong"
  ) || true
  [[ $reply == +PONG* ]]
}

# shellcheck shell=bash
# A PostgreSQL cluster of our own. Part of ../services.sh.

# PostgreSQL refuses to run as root: sets `as_pg_user`, the words in front of its commands, and gives it its corner.
# become_pg_user HOME
become_pg_user() {
  as_pg_user=()
  [ "$(id -u)" = 0 ] || return 0
  local user=postgres
  id "$user" >/dev/null 2>&1 || user=nobody
  as_pg_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --)
  chown -R "$user" "$1"
}

create_cluster() {
  local home=$dir/postgres log=$dir/initdb.log socket_dir=$dir/postgres
  rm -rf "$home/new"
  (cd "$home" && "${as_pg_user[@]}" "$pg_bin/initdb" -D "$home/new" --username millpond --pwfile "$home/password" \
    --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8 --no-sync --no-instructions >>"$log" 2>&1 9<&-) ||
    failed "initdb failed" "$log"
  # The path of a Unix socket has at most 107 bytes.
  [ ${#socket_dir} -lt 80 ] || socket_dir=
  # fsync stays on: what survives a kill is what the tests are about.
  cat >>"$home/new/postgresql.conf" <<-END
	listen_addresses = '127.0.0.1'
	port = $pg_port
	unix_socket_directories = '$socket_dir'
	max_connections = 300
	fsync = on
	synchronous_commit = on
	shared_buffers = 256MB
	log_line_prefix = '%m [%p] %d '
	END
  mv "$home/new" "$home/data"
}

start_postgres() {
  running postgres >/dev/null && return
  local home=$dir/postgres log=$dir/postgres.log
  mkdir -p "$home"
  chmod 700 "$home"
  printf '%s\n' "$password" >"$home/password"
  become_pg_user "$home"
  [ -d "$home/data" ] || create_cluster
  await_orphans "$home/data"
  launch "$log" env -C "$home" "${as_pg_user[@]}" "$pg_bin/postgres" -D "$home/data"
  remember postgres "$launched"
  await PostgreSQL "$launched" "$log" postgres_is_ready "$home"
}

# Backends of a killed server end by themselves, but not at once, and a second server beside them would ruin the data.
# Each has the data directory as its working directory. Once none is left, the lock files speak of nobody; the new
# server could not know that, as the old pid may belong to a zombie or to somebody else.
await_orphans() {
  local deadline=$((SECONDS + leave_within_s)) process
  for process in /proc/[0-9]*; do
    while [ "$process/cwd" -ef "$1" ]; do
      [ $SECONDS -lt $deadline ] || failed "process ${process#/proc/} of a killed PostgreSQL does not end" "$log"
      sleep 0.05
    done
  done
  rm -f "$1/postmaster.pid" "$1"/../.s.PGSQL.*
}

# postgres_is_ready HOME: the pid file says whose it is in line 1, and the server's own word on its state in line 8.
postgres_is_ready() {
  local lines
  mapfile -t lines 2>/dev/null <"$1/data/postmaster.pid" || return 1
  [ "${lines[0]:-}" = "$launched" ] && [[ ${lines[7]:-} == ready* ]]
}

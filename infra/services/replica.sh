# shellcheck shell=bash
# A hot standby that streams from our own PostgreSQL. Part of ../services.sh.

# A copy of the running primary, which keeps its log for it (a slot) for as long as the directory is there.
copy_primary() {
  local home=$dir/replica log=$dir/basebackup.log socket_dir=$dir/replica
  running postgres >/dev/null || die "a replica is copied from PostgreSQL, which does not run: start both together"
  rm -rf "$home/new"
  printf '127.0.0.1:%s:*:millpond:%s\n' "$pg_port" "$password" >"$home/passfile"
  chmod 600 "$home/passfile"
  become_pg_user "$home"
  env -C "$home" PGPASSFILE="$home/passfile" "${as_pg_user[@]}" "$pg_bin/pg_basebackup" -D "$home/new" --no-sync \
    --checkpoint=fast --wal-method=stream --write-recovery-conf --create-slot --slot replica \
    -h 127.0.0.1 -p "$pg_port" -U millpond >>"$log" 2>&1 9<&- || failed "pg_basebackup failed" "$log"
  [ ${#socket_dir} -lt 80 ] || socket_dir=
  # What is set last counts.
  cat >>"$home/new/postgresql.conf" <<-END
	port = $replica_port
	unix_socket_directories = '$socket_dir'
	wal_receiver_status_interval = 1s
	wal_retrieve_retry_interval = 200ms
	END
  mv "$home/new" "$home/data"
}

start_replica() {
  running replica >/dev/null && return
  local home=$dir/replica log=$dir/replica.log
  mkdir -p "$home"
  chmod 700 "$home"
  become_pg_user "$home"
  [ -d "$home/data" ] || copy_primary
  await_orphans "$home/data"
  launch "$log" env -C "$home" "${as_pg_user[@]}" "$pg_bin/postgres" -D "$home/data"
  remember replica "$launched"
  await "PostgreSQL's replica" "$launched" "$log" postgres_is_ready "$home"
}

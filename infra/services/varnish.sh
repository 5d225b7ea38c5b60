# shellcheck shell=bash
# A Varnish of our own, with infra/varnish/millpond.vcl. Part of ../services.sh.
#
# Its backend is a port where a test listens when it wants to: 503 until then.

find_varnish() { command -v varnishd; }

# The module may be missing beside an installed varnishd: a VCL without a backend to talk to finds out.
has_xkey() {
  local module
  for module in /usr/lib/*/varnish/vmods/libvmod_xkey.so /usr/lib/varnish/vmods/libvmod_xkey.so \
    /usr/local/lib/varnish/vmods/libvmod_xkey.so; do
    [ -f "$module" ] && return
  done
  return 1
}

start_varnish() {
  running varnish >/dev/null && return
  local home=$dir/varnish log=$dir/varnish.log
  mkdir -p "$home"
  chmod 700 "$home"
  cat >"$home/main.vcl" <<-END
	vcl 4.1;
	backend default { .host = "127.0.0.1"; .port = "$varnish_backend_port"; }
	acl purgers { "127.0.0.1"; }
	include "$root/infra/varnish/millpond.vcl";
	END
  # -j none: as root, too, it stays the user that it is, as the directory is that user's alone. The log of requests in
  # shared memory is small, and so are the pages. Connections to the backend end before the backend ends them, those of
  # clients after the clients do.
  launch "$log" "$varnish" -F -j none -n "$home/work" -a "127.0.0.1:$varnish_port" -f "$home/main.vcl" \
    -s malloc,64m -p vsl_space=8m -p http_resp_hdr_len=64k -p http_resp_size=96k -p workspace_backend=256k \
    -p workspace_client=256k -p backend_idle_timeout=2 -p timeout_idle=60
  remember varnish "$launched"
  await Varnish "$launched" "$log" listens "$varnish_port"
}

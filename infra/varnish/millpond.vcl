# Varnish in front of Millpond, purged by tags through the module xkey (Debian: varnish-modules). Include it into a file of
# your own, which names the backend, with a probe, and who may purge:
#
#   vcl 4.1;
#   backend default { .host = "10.0.0.7"; .port = "8080"; .probe = { .url = "/healthz"; .interval = 2s; } }
#   acl purgers { "10.0.0.0"/24; }
#   include "/etc/varnish/millpond/millpond.vcl";
#
# and start varnishd with room for the tags of a long list, one header of up to 500 tags, and with connections to Millpond that
# end before Millpond ends them (`http.header_timeout_ms`), or a POST meets one that is just closed:
#
#   -p http_resp_hdr_len=64k -p http_resp_size=96k -p workspace_backend=256k -p workspace_client=256k
#   -p backend_idle_timeout=5
#
# In Millpond: [invalidation.cdn.NAME] with kind = "varnish", and every server in urls.
vcl 4.1;

import std;
import xkey;

# Purges come first.
include "./purge-xkey.vcl";
include "./pages.vcl";

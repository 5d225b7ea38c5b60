# What Millpond's kind = "varnish" asks for. Part of millpond.vcl.
#
#   PURGE /  xkey-softpurge: TAG TAG …   expire what carries one of the tags; it may be served within its grace
#   PURGE /  xkey-purge: TAG TAG …       remove it
#   PURGE /path                          remove this one page of this host
#
# Tags stand in Surrogate-Key, as Millpond sends them. All pages carry "millpond" as well.
vcl 4.1;

sub vcl_recv {
  # Nobody but this file sets it.
  unset req.http.x-millpond-purged;
  if (req.method == "PURGE") {
    if (client.ip !~ purgers) {
      return (synth(403, "Forbidden"));
    }
    if (req.http.xkey-softpurge) {
      set req.http.x-millpond-purged = xkey.softpurge(req.http.xkey-softpurge);
      return (synth(200, "Purged"));
    }
    if (req.http.xkey-purge) {
      set req.http.x-millpond-purged = xkey.purge(req.http.xkey-purge);
      return (synth(200, "Purged"));
    }
    # As pages are kept.
    set req.url = std.querysort(req.url);
    return (purge);
  }
}

sub vcl_backend_response {
  # The name under which the module looks for keys.
  unset beresp.http.xkey;
  if (beresp.http.Surrogate-Key) {
    set beresp.http.xkey = beresp.http.Surrogate-Key + " millpond";
  }
}

sub vcl_deliver {
  unset resp.http.xkey;
}

sub vcl_synth {
  if (req.http.x-millpond-purged) {
    set resp.http.Purged-Objects = req.http.x-millpond-purged;
  }
}

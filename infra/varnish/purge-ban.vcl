# What Millpond's kind = "varnish_ban" asks for. Part of millpond-ban.vcl.
#
#   BAN /  ban-tags: REGEX   what has a matching Surrogate-Key is not served any more
#   PURGE /path              remove this one page of this host
#
# All pages carry "millpond" as well.
vcl 4.1;

sub vcl_recv {
  if (req.method == "BAN" || req.method == "PURGE") {
    if (client.ip !~ purgers) {
      return (synth(403, "Forbidden"));
    }
    if (req.method == "PURGE") {
      # As pages are kept.
      set req.url = std.querysort(req.url);
      return (purge);
    }
    # Of the object alone, so that the ban lurker works them off.
    if (std.ban("obj.http.x-millpond-tags ~ " + req.http.ban-tags)) {
      return (synth(200, "Banned"));
    }
    return (synth(400, std.ban_error()));
  }
}

sub vcl_backend_response {
  unset beresp.http.x-millpond-tags;
  if (beresp.http.Surrogate-Key) {
    set beresp.http.x-millpond-tags = beresp.http.Surrogate-Key + " millpond";
  }
}

sub vcl_deliver {
  unset resp.http.x-millpond-tags;
}

# How long pages are kept and what is served of them. Part of millpond.vcl and of millpond-ban.vcl.
#
# The answers say for how long they are fresh (s-maxage), how long they may be served after that while a new one is fetched
# (stale-while-revalidate), and how long if none can be fetched (stale-if-error); the longer of the two is the object's grace.
# A purged or expired page is served for at most a quarter of a second more, while one request fetches the new one: whoever comes later
# waits for that. Only while the backend does not answer is the whole grace used.
vcl 4.1;

sub vcl_recv {
  if (req.restarts == 0) {
    # Ours, and nobody else's.
    unset req.http.x-millpond-old;
    unset req.http.x-millpond-failed;
  }
  # Millpond reads no cookies; those of others on the same host would keep every page out of the cache.
  unset req.http.Cookie;
  # Two spellings of one page.
  set req.url = std.querysort(req.url);
  # A page's own grace is never longer than this.
  set req.grace = 30d;
  if (req.http.x-millpond-old && !req.http.x-millpond-failed) {
    set req.grace = 250ms;
  }
}

sub vcl_hit {
  if (obj.ttl + 250ms < 0s && std.healthy(req.backend_hint) && !req.http.x-millpond-old) {
    # Look again, as if it were not there: one request fetches the new page, and the others wait for that.
    set req.http.x-millpond-old = "1";
    return (restart);
  }
}

sub vcl_backend_response {
  if (beresp.status >= 500 && beresp.ttl <= 0s) {
    if (bereq.is_bgfetch || (bereq.http.x-millpond-old && !bereq.http.x-millpond-failed)) {
      # The old page stays: an answer, whatever it says, would take its place.
      return (abandon);
    }
    # No marker that this page can't be cached: it would stand before the old page.
    set beresp.ttl = 0s;
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    return (deliver);
  }
  # Headers that Varnish believes though they mean nothing, or more than it reads (RFC 9111, sections 4.1, 4.2 and 5.1).
  std.collect(beresp.http.Age);
  std.collect(beresp.http.Vary);
  if (beresp.http.Age && beresp.http.Age !~ "^[0-9]+$") {
    set beresp.ttl = 0s;
  }
  if (beresp.http.Expires && beresp.http.Expires !~ "^[A-Z][a-z]+, .* GMT$" && beresp.http.Cache-Control !~ "(?i)max-?age") {
    set beresp.ttl = 0s;
  }
  if (beresp.http.Vary ~ "(^|,)\s*\*\s*(,|$)") {
    set beresp.uncacheable = true;
    set beresp.ttl = 120s;
    return (deliver);
  }
  # Where the page does not say so, or forbids it, nothing stale is served.
  if (beresp.http.Cache-Control !~ "(?i)stale-while-revalidate" || beresp.http.Cache-Control ~ "(?i)(must|proxy)-revalidate") {
    set beresp.grace = 0s;
  }
  if (beresp.http.Cache-Control ~ "(?i)stale-if-error=[0-9]+" && beresp.http.Cache-Control !~ "(?i)(must|proxy)-revalidate") {
    set beresp.http.x-millpond-sie = regsub(beresp.http.Cache-Control, "(?i)^.*stale-if-error=([0-9]+).*$", "\1s");
    if (std.duration(beresp.http.x-millpond-sie, 0s) > beresp.grace) {
      set beresp.grace = std.duration(beresp.http.x-millpond-sie, 0s);
    }
    unset beresp.http.x-millpond-sie;
  }
  # Whoever is served a kept page did not send the request that it answered.
  if (!bereq.uncacheable && beresp.http.Cache-Control !~ "(?i)(no-cache|no-store|private)") {
    unset beresp.http.X-Request-Id;
  }
  # What has expired is asked for by its validator: an answer of a few bytes where it has not changed.
  if (beresp.ttl > 0s && (beresp.http.ETag || beresp.http.Last-Modified)) {
    set beresp.keep = 10m;
  }
}

sub vcl_backend_error {
  if (bereq.is_bgfetch || (bereq.http.x-millpond-old && !bereq.http.x-millpond-failed)) {
    return (abandon);
  }
  set beresp.ttl = 0s;
  set beresp.grace = 0s;
}

sub vcl_synth {
  if (resp.status == 503 && req.http.x-millpond-old && !req.http.x-millpond-failed) {
    # What was abandoned ends here. The new page can't be had: the old one.
    set req.http.x-millpond-failed = "1";
    return (restart);
  }
}

sub vcl_deliver {
  # RFC 9211.
  if (obj.hits > 0) {
    set resp.http.Cache-Status = "varnish; hit";
  } else {
    set resp.http.Cache-Status = "varnish; fwd=miss";
  }
}

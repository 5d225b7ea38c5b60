# As millpond.vcl, for a Varnish without the module xkey: tags are banned. A ban is never soft, and each object that is asked
# for is held against each ban that is younger than it.
#
# In Millpond: [invalidation.cdn.NAME] with kind = "varnish_ban", and every server in urls.
vcl 4.1;

import std;

include "./purge-ban.vcl";
include "./pages.vcl";

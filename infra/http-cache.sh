#!/usr/bin/env bash
# Runs `http-cache-tests` (npm, unmodified) against Varnish with infra/varnish/millpond.vcl, and holds the results against
# infra/http-cache/expected.json: what a cache is required to do, and each exception with its reason. Takes some minutes.
#
#   infra/http-cache.sh [--out DIR]   the results go to DIR/results.json (default: target/http-cache)
#
# Needs node 18 or newer and npm; installs the package below target/, and Varnish where it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

package=http-cache-tests
version=0.4.5

say() { printf 'http-cache: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

out=$PWD/target/http-cache
if [ "${1:-}" = --out ] && [ $# = 2 ]; then out=$2; elif [ $# != 0 ]; then die "usage: infra/http-cache.sh [--out DIR]"; fi

for tool in node npm; do
  command -v $tool >/dev/null || die "no $tool: install Node.js 18 or newer with npm (Debian: apt-get install nodejs npm)"
done

mkdir -p "$out"
if [ "$(cd "$out" && npm ls --parseable --long 2>/dev/null | grep -c "$package@$version")" = 0 ]; then
  say "installing $package $version"
  npm install --prefix "$out" --no-audit --no-fund --ignore-scripts --save-exact "$package@$version" >"$out/npm.log" 2>&1 ||
    die "npm could not install $package $version: see $out/npm.log"
fi

services=$(mktemp -d "${TMPDIR:-/tmp}/millpond-http-cache.XXXXXX")
origin=
finish() {
  [ -z "$origin" ] || kill "$origin" 2>/dev/null || true
  infra/services.sh down --dir "$services"
}
trap finish EXIT
chmod 711 "$services"
infra/services.sh up --dir "$services" varnish
settings=$(infra/services.sh env --dir "$services" varnish)
eval "$settings"

# What `npm run server` and `npm run cli` set, without a process that nobody knows the id of.
tests=$out/node_modules/$package
(cd "$tests" && exec env npm_config_protocol=http npm_config_port="${MILLPOND_TEST_VARNISH_BACKEND##*:}" \
  npm_config_pidfile="$services/origin.pid" node server/server.mjs) >"$out/origin.log" 2>&1 &
origin=$!
for _ in $(seq 100); do
  grep -q Listening "$out/origin.log" && break
  kill -0 "$origin" 2>/dev/null || die "the origin of the tests ended: see $out/origin.log"
  sleep 0.1
done

say "running the tests against $MILLPOND_TEST_VARNISH_URL"
(cd "$tests" && exec env npm_config_base="$MILLPOND_TEST_VARNISH_URL" npm_package_config_id='' node --no-warnings cli.mjs) \
  >"$out/results.json" 2>"$out/tests.log" || die "the tests could not be run: see $out/tests.log"
node infra/http-cache/judge.mjs "$tests" "$out/results.json" infra/http-cache/expected.json

#!/usr/bin/env bash
# Shows with openssl and curl what TLS_MODE does: every mode, who is refused, pinned certificates, and files
# that change under load. Starts the gateway itself, without PostgreSQL and Temporal (`/ping` needs neither).
#
#   test/tls/show-tls.sh [command that starts a gateway]        default: npm run --silent gateway
#
# A line for each claim, `ok` or `FAILED`; ends with 1 if one failed.
set -uo pipefail
gateway=("$@")
[ $# -gt 0 ] || gateway=(npm run --silent gateway)
work=$(mktemp -d)
failed=0
pid=
requests=300

stop() {
  [ -n "$pid" ] || return 0
  kill -TERM "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  pid=
}
trap 'stop; rm -rf "$work"' EXIT

claim() { # text, then a command that shows it
  local text=$1
  shift
  if "$@" >"$work/claim.out" 2>&1; then echo "ok $text"; else
    echo "FAILED $text"
    sed 's/^/    /' "$work/claim.out"
    failed=1
  fi
}
refused() { ! "$@"; }

# --- certificates -------------------------------------------------------------------------------------------
authority() { # name
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
    -keyout "$work/$1.key" -out "$work/$1.pem" 2>/dev/null
}
certificate() { # name, authority, alternative names, days
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
    -keyout "$work/$1.key" -out "$work/$1.csr" 2>/dev/null
  printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "$3" >"$work/$1.ext"
  openssl x509 -req -in "$work/$1.csr" -CA "$work/$2.pem" -CAkey "$work/$2.key" -CAcreateserial \
    -days "$4" -extfile "$work/$1.ext" -out "$work/$1.pem" 2>/dev/null
}
authority ca
authority other-ca
certificate server ca 'DNS:localhost,IP:127.0.0.1' 2
certificate renewed ca 'DNS:localhost,IP:127.0.0.1' 2
certificate client ca 'URI:spiffe://example/client' 2
certificate expired ca 'DNS:expired' -1
certificate stranger other-ca 'DNS:stranger' 2
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=self-signed' \
  -addext basicConstraints=CA:FALSE -keyout "$work/self.key" -out "$work/self.pem" 2>/dev/null
openssl rand -base64 32 >"$work/local.key"
chmod 600 "$work"/*.key

# --- a gateway ------------------------------------------------------------------------------------------------
start() { # settings
  stop
  : >"$work/log"
  env -u TLS_MODE DATABASE_URL=postgres://nobody@127.0.0.1:1/none LOCAL_KEY_FILE="$work/local.key" \
    TEMPORAL_ADDRESS=127.0.0.1:1 PORT=0 METRICS_PORT=0 PPROF_PORT=0 LOG_HTTP_REQUESTS=false \
    HOST=127.0.0.1 "$@" "${gateway[@]}" >"$work/log" 2>&1 &
  pid=$!
  url=
  for _ in $(seq 600); do
    url=$(grep -o '"url":"[^"]*"' "$work/log" | head -1 | cut -d'"' -f4)
    [ -n "$url" ] && return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  wait "$pid"
  pid=
  return 1
}
ping() { curl -sS -f --max-time 20 --cacert "$work/ca.pem" -o "$work/body" "$@" "$url/ping"; }
as() { # name, further options of curl
  local name=$1
  shift
  ping --cert "$work/$name.pem" --key "$work/$name.key" "$@"
}
served() { # the certificate that new connections get
  openssl s_client -connect "${url#https://}" "$@" </dev/null 2>/dev/null | openssl x509 -noout -serial
}
serves() {
  local serial
  serial=$(openssl x509 -noout -serial -in "$work/$1.pem")
  shift
  for _ in $(seq 200); do
    [ "$(served "$@")" = "$serial" ] && return 0
    sleep 0.1
  done
  return 1
}
# As Kubernetes does with a mounted secret: a folder for each version, and a link that is swapped.
mount() { # pair, client bundle
  local version="$work/..$1-$(date +%s%N)"
  mkdir -p "$version" "$work/mounted"
  cp "$work/$1.pem" "$version/tls.crt"
  cp "$work/$1.key" "$version/tls.key"
  cp "$work/$2.pem" "$version/ca.crt"
  ln -s "$version" "$work/mounted/..data_tmp"
  mv -T "$work/mounted/..data_tmp" "$work/mounted/..data"
  for file in tls.crt tls.key ca.crt; do ln -sf "..data/$file" "$work/mounted/$file"; done
}

# --- disabled, enabled ----------------------------------------------------------------------------------------
claim 'disabled: starts' start TLS_MODE=disabled
claim 'disabled: plain HTTP is answered' ping

claim 'a key of another certificate refuses to start' refused start TLS_MODE=enabled \
  TLS_CERT_FILE="$work/server.pem" TLS_KEY_FILE="$work/client.key"
claim '... and says which file' grep -q 'TLS_KEY_FILE names the file .*client.key' "$work/log"

claim 'enabled: starts' start TLS_MODE=enabled TLS_CERT_FILE="$work/server.pem" TLS_KEY_FILE="$work/server.key"
claim 'enabled: TLS 1.2 is answered' ping --tlsv1.2 --tls-max 1.2
claim 'enabled: TLS 1.3 is answered' ping --tlsv1.3
claim 'enabled: TLS 1.1 is refused' refused ping --tls-max 1.1 --ciphers 'ALL:@SECLEVEL=0'
claim 'enabled: plain HTTP is refused' refused curl -sS --max-time 20 "${url/https/http}/ping"

# --- mutual TLS -----------------------------------------------------------------------------------------------
mount server ca
claim 'mtls: starts' start TLS_MODE=mtls MTLS_CERT_FILE="$work/mounted/tls.crt" \
  MTLS_KEY_FILE="$work/mounted/tls.key" MTLS_CLIENT_CERT_FILE="$work/mounted/ca.crt"
for version in 1.2 1.3; do
  only=(--tlsv$version --tls-max $version)
  claim "mtls $version: a client of the authority is answered" as client "${only[@]}"
  claim "mtls $version: no certificate is refused" refused ping "${only[@]}"
  claim "mtls $version: a certificate of a stranger is refused" refused as stranger "${only[@]}"
  claim "mtls $version: an expired certificate is refused" refused as expired "${only[@]}"
done

# --- files that change under load -------------------------------------------------------------------------------
# One loop with a connection for each request, and one that keeps its connection, until told to stop.
: >"$work/failures"
: >"$work/load-runs"
(while [ -e "$work/load-runs" ]; do
  if as client; then echo new >>"$work/answered"; else echo new >>"$work/failures"; fi
done) 2>>"$work/failures" &
fresh=$!
(
  urls=$(for _ in $(seq $requests); do printf 'url="%s/ping"\noutput=/dev/null\n' "$url"; done)
  while [ -e "$work/load-runs" ]; do
    curl -sS -f --cacert "$work/ca.pem" --cert "$work/client.pem" --key "$work/client.key" \
      --rate 6000/m -K - <<<"$urls" || echo kept >>"$work/failures"
  done
) 2>>"$work/failures" &
kept=$!
mount renewed ca
claim 'reload: new connections get the renewed certificate' serves renewed
mount server ca
claim 'reload: and the one after that' serves server
broken() {
  cp "$work/client.key" "$(readlink -f "$work/mounted")/..data/tls.key.new" &&
    mv "$work/mounted/..data/tls.key.new" "$work/mounted/..data/tls.key"
}
claim 'reload: a key of another certificate comes' broken
logged() {
  for _ in $(seq 200); do
    grep -q "$1" "$work/log" && return 0
    sleep 0.1
  done
  return 1
}
claim 'reload: ... the log says so' logged 'MTLS_KEY_FILE names the file .* is not the key'
claim 'reload: ... and the old pair goes on' serves server
rm "$work/load-runs"
wait "$fresh" "$kept"
claim 'reload: 0 failed requests' test ! -s "$work/failures"
[ -s "$work/failures" ] && head -5 "$work/failures"
claim 'reload: ... of a good many' test "$(wc -l <"$work/answered")" -gt 20

# --- pinned certificates, taken without a restart ---------------------------------------------------------------
answered_in_time() {
  for _ in $(seq 200); do
    "$@" 2>/dev/null && return 0
    sleep 0.1
  done
  return 1
}
cat "$work/client.pem" "$work/self.pem" "$work/expired.pem" >"$work/pinned.pem"
mount server pinned
claim 'pinned: a self-signed certificate is answered' answered_in_time as self
claim 'pinned: a certificate without its authority is answered' as client
claim 'pinned: an expired certificate is refused' refused as expired
claim 'pinned: another certificate of the same authority is refused' refused as renewed
claim 'pinned: no certificate is refused' refused ping
exit $failed

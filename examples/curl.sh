#!/bin/sh
# Reads a connection's token, calls the provider with it, and refreshes it as after a 401. Usage: curl.sh [connection id]
# TOKEN_MANAGER_URL and API_URL are those of npm start unless set.
set -eu
connection=${1:-demo}
service=${TOKEN_MANAGER_URL:-http://127.0.0.1:8082}/v1/connections/$connection/token
api=${API_URL:-http://127.0.0.1:8084}
member() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p"; }

answer=$(curl --silent --show-error --fail-with-body "$service")
version=$(printf '%s' "$answer" | member token_version)
echo "version $version"

# The token goes in by standard input: what is on a command line can be seen by others on the machine.
printf 'header = "Authorization: Bearer %s"\n' "$(printf '%s' "$answer" | member access_token)" |
  curl --silent --show-error --fail-with-body --config - "$api/me"
echo

# Had that been a 401: whoever names the refused version gets a newer one, and a thousand callers share one refresh.
curl --silent --show-error --fail-with-body "$service/refresh" \
  --header 'content-type: application/json' --data "{\"rejected_token_version\": $version}" |
  member token_version | sed 's/^/refreshed to version /'

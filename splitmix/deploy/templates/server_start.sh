#!/bin/sh
# The server of this fleet: TLS, and only nodes whose keys are registered. Starts the run, or goes on with it.
# Ends with 0 when the run is finished, and with another code when it stopped: start it again, and it goes on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
fleet=$(dirname "$here")
. "$here/fleet.env"
export FLWR_HOME="$here/flower" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
umask 077
mkdir -p "$FLWR_HOME"
case "$LISTEN" in  # how this machine itself reaches it
  0.0.0.0) own=127.0.0.1 ;;
  ::) own="[::1]" ;;
  *:*) own="[$LISTEN]" ;;
  *) own="$LISTEN" ;;
esac
cat > "$FLWR_HOME/config.toml" <<END
[superlink]
default = "fleet"

[superlink.fleet]
address = "$own:$PORT"
root-certificates = "$here/ca.crt"
END

flower-superlink --host "$LISTEN" --port "$PORT" --enable-supernode-auth \
  --ssl-ca-certfile "$here/ca.crt" --ssl-certfile "$here/server.crt" --ssl-keyfile "$here/server.key" \
  --disable-runtime-dependency-installation &
superlink=$!
trap 'kill "$superlink" 2>/dev/null || true' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# Flower keeps the registered keys in memory, so that they are registered at every start.
until flwr supernode list fleet >/dev/null 2>&1; do
  kill -0 "$superlink" 2>/dev/null || { echo "The server ended at once: see above." >&2; exit 1; }
  sleep 1
done
for key in "$fleet"/nodes/*/node.pub; do
  flwr supernode register "$key" fleet --name "$(basename "$(dirname "$key")")"
done

flwr run "$fleet/app" fleet --run-config "folder=\"$fleet\"" --stream &
wait "$!"
grep -Eq '"status": *"finished"' "$fleet/run/results.json"

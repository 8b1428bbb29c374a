#!/bin/sh
# Builds ZMLX and shows what it does on the small model that comes along.  Installs what is missing first (apt).
set -eu
cd "$(dirname "$0")"
. tools/setup.sh
zmlx_setup demo
exec make -j"$(zmlx_jobs)" --no-print-directory demo

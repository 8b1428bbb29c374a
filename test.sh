#!/bin/sh
# Builds ZMLX and runs all tests; the last line is `N passed, N failed`.  Installs what is missing first (apt).
set -eu
cd "$(dirname "$0")"
. tools/setup.sh
zmlx_setup test
exec make -j"$(zmlx_jobs)" --no-print-directory test

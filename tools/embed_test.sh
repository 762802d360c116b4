#!/usr/bin/env bash
# Builds examples/embed against an installed Spore with find_package and runs it, and tries what is installed beside the
# libraries: tools/embed_test.sh PREFIX
set -euo pipefail
prefix=$(cd "$1" && pwd)
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../examples/embed" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$prefix/libexec/spore/spore-compile" --self-test > /dev/null
cmake -S "$source" -B "$work" -G Ninja -DCMAKE_PREFIX_PATH="$prefix"
cmake --build "$work"
"$work/embed" | tee "$work/output"
diff - "$work/output" << 'EXPECTED'
price: 21
spin: the call ran longer than its deadline (deadline_ms=50)
EXPECTED

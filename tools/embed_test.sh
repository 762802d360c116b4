#!/usr/bin/env bash
# Builds examples/embed against an installed Spore with find_package, and examples/embed_c with pkg-config, runs them, and
# tries what is installed beside the libraries: tools/embed_test.sh PREFIX
set -euo pipefail
prefix=$(cd "$1" && pwd)
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/../examples" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$prefix/libexec/spore/spore-compile" --self-test > /dev/null
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
for example in embed embed_c; do
  cmake -S "$examples/$example" -B "$work/$example" -G Ninja -DCMAKE_PREFIX_PATH="$prefix"
  cmake --build "$work/$example"
done
"$work/embed/embed" | tee "$work/output"
diff - "$work/output" << 'EXPECTED'
price: 21
spin: the call ran longer than its deadline (deadline_ms=50)
EXPECTED
"$work/embed_c/embed_c" | tee "$work/output"
diff - "$work/output" << 'EXPECTED'
price: 40
price: 30
price: 20.0
deadline_exceeded: the call ran longer than its deadline (deadline_ms=50)
EXPECTED

#!/usr/bin/env bash
# Runs every code block of a document against the installed Spore: tools/doc_test.sh PREFIX FILE.md
#   sh    by bash, with 'set -e', in a folder that all blocks of the document share; `spore` is in PATH and
#         SPORE_ROOT names the source tree.  Blocks that begin with ./dev run in the source tree.
#   cpp   compiled as it stands with `pkg-config spore`, then run: it must exit with 0.
#   text  is not code.  Any other kind is an error.
set -euo pipefail
prefix=$(cd "$1" && pwd)
document=$(realpath "$2")
SPORE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export SPORE_ROOT PATH="$prefix/bin:$PATH" PKG_CONFIG_PATH="$prefix/lib/pkgconfig" SPORE_INSIDE_TEST=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SPORE_HOME="$work/home"
mkdir "$work/blocks" "$work/run"

# One file a block: NNN.LINE.KIND
awk -v out="$work/blocks" '
  /^```/ {
    if (inside) { inside = 0; close(file); next }
    inside = 1
    kind = substr($0, 4)
    file = sprintf("%s/%03d.%d.%s", out, ++count, NR, kind == "" ? "none" : kind)
    printf "" > file
    next
  }
  inside { print > file }
' "$document"

run_block() {
  local block=$1
  case "$block" in
    *.text) return ;;
    *.sh)
      if head -n 1 "$block" | grep -q '^\./dev'; then
        (cd "$SPORE_ROOT" && bash -euo pipefail "$block")
      else
        (cd "$work/run" && bash -euo pipefail "$block")
      fi
      ;;
    *.cpp)
      # shellcheck disable=SC2046 # flags are words
      g++ -O0 -Wall -Wextra -Wno-missing-field-initializers -Werror "$block" -o "$block.out" $(pkg-config --cflags --libs spore)
      (cd "$work/run" && "$block.out")
      ;;
    *) echo "a block of unknown kind" && return 1 ;;
  esac
}

count=0
for block in "$work"/blocks/*; do
  [ -e "$block" ] || break
  line=$(basename "$block" | cut -d . -f 2)
  if ! run_block "$block" > "$work/output" 2>&1 < /dev/null; then
    echo "${document#"$SPORE_ROOT"/}:$line: this block failed:"
    cat "$block"
    echo "--- it printed:"
    cat "$work/output"
    exit 1
  fi
  count=$((count + 1))
done
echo "${document#"$SPORE_ROOT"/}: $count blocks"

#!/usr/bin/env bash
# Puts the runtimes of handlers into a data directory, and has each rewritten and compiled there, such that the
# next handler starts at once: tools/runtimes.sh SPORE DATA_DIR.  Some seconds each the first time.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
spore=$1
home=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$home/runtimes"
declare -A ending=([python]=py [ruby]=rb [javascript]=js)
for language in javascript python ruby; do
  # Renamed into place: somebody may have the old one mapped.
  cp "$root/build/guests/$language.wasm" "$home/runtimes/$language.new"
  mv "$home/runtimes/$language.new" "$home/runtimes/$language.wasm"
  "$spore" new "$language" "$work/$language" > "$work/log"
  "$spore" freeze --home "$home" --tier baseline "$work/$language/handler.${ending[$language]}" -o "$work/$language.spore" >> "$work/log" || {
    cat "$work/log" >&2
    exit 1
  }
  printf 'runtimes: %s is ready in %s\n' "$language" "$home" >&2
done

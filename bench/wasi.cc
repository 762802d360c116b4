// What does a call of WASI cost beside the system call that it stands for, and a state beside nothing?
//
//   fd_read, fd_write       64 bytes of a file                 native: read(2), write(2)
//   path_open_close         path_open and fd_close             native: openat2(2) with RESOLVE_BENEATH,
//   close(2) clock_time_get          the monotonic clock                native: clock_gettime(2)
//   fd_write_captured       64 bytes of standard output        host_function: a plain one that takes 64 bytes
//   state_save, _restore    with 10 open files, as bytes and back; state_reset: to what it was at the start
//
// The guest's side is a loop in wasm, the native side one in C++; both in one process, in turn, on files of
// the same memory file system.  The overhead of each is told as its own number: p50 less the native p50.

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "bench/harness.h"
#include "spore/base/fd.h"
#include "spore/engine/engine.h"
#include "spore/spore.h"

namespace spore {
namespace {

using bench::fail;
using bench::Subject;

constexpr size_t kBytes = 64;
constexpr int kOpenFiles = 10;
constexpr size_t kFileBytes = size_t{1} << 20;
const char* const kFile = "file0";

// Each function makes its call `n` times.  Descriptor 3 is the directory, 4 a file of it.
constexpr std::string_view kGuest = R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "env" "take" (func $take (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\40\00\00\00")  ;; one buffer: 64 bytes at 64
  (data (i32.const 256) "file0")
  (func $check (param i32) (if (local.get 0) (then unreachable)))
  (func (export "open") (param $number i32) (result i32)
    (i32.store8 (i32.const 260) (i32.add (i32.const 48) (local.get $number)))
    (call $check (call $path_open (i32.const 3) (i32.const 1) (i32.const 256) (i32.const 5) (i32.const 0)
      (i64.const 0x46) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.load (i32.const 16)))
  (func $rewind (call $check (call $fd_seek (i32.const 4) (i64.const 0) (i32.const 0) (i32.const 24))))
  (func (export "read") (param $n i32)
    (call $rewind)
    (loop $again
      (call $check (call $fd_read (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 16)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "write") (param $fd i32) (param $n i32)
    (if (i32.eq (local.get $fd) (i32.const 4)) (then (call $rewind)))
    (loop $again
      (call $check (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 16)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "open_close") (param $n i32)
    (i32.store8 (i32.const 260) (i32.const 48))
    (loop $again
      (call $check (call $path_open (i32.const 3) (i32.const 1) (i32.const 256) (i32.const 5) (i32.const 0)
        (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
      (call $check (call $fd_close (i32.load (i32.const 16))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "clock") (param $n i32)
    (loop $again
      (call $check (call $clock (i32.const 1) (i64.const 0) (i32.const 16)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "take") (param $n i32)
    (loop $again
      (call $check (call $take (i32.const 64) (i32.const 64)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
)";

// A folder in memory, gone at the end: the disk is not what is measured.
class Folder {
 public:
  Folder() {
    const bool memory = std::filesystem::exists("/dev/shm");
    std::string name =
        (memory ? "/dev/shm" : std::filesystem::temp_directory_path().native()) + "/spore.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) fail("mkdtemp");
    path_ = name;
    for (int i = 0; i < kOpenFiles; i++) {
      std::ofstream(path_ / ("file" + std::to_string(i))) << std::string(kFileBytes, 'x');
    }
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The guest, with a file open as descriptor 4.
class Guest {
 public:
  explicit Guest(const Folder& folder) {
    runtime_ = Runtime::create({.tier = Tier::kOptimised}).value();
    ModuleOptions options;
    options.host.define("env", "take", [](std::string_view text) { return text.size() == kBytes ? 0 : 1; });
    const auto module = runtime_->load_module("wasi", engine::text_to_wasm(kGuest).value(), options).value();
    const auto config = WasiConfig::create({.directories = {{folder.path().native(), "/", true}},
                                            .output_bytes_max = uint64_t{1} << 30})
                            .value();
    instance_.emplace(runtime_->instantiate(*module, {.wasi = std::make_unique<Wasi>(config)}).value());
    open(0);
  }

  // Calls `name` with the arguments, the last of which says how often.
  template <typename... Args>
  std::function<void(uint64_t)> repeat(std::string_view name, Args... args) {
    auto function = instance_->function<void(Args..., uint32_t)>(name).value();
    return [=](uint64_t n) {
      if (!function(args..., static_cast<uint32_t>(n)).ok()) fail("the guest");
    };
  }
  void open(int32_t number) {
    auto function = instance_->function<int32_t(int32_t)>("open").value();
    if (!function(number).ok()) fail("path_open");
  }
  Wasi& wasi() { return *instance_->wasi(); }

 private:
  std::unique_ptr<Runtime> runtime_;
  std::optional<Instance> instance_;
};

void call_subjects(Guest& guest, const Folder& folder, std::vector<Subject>& subjects) {
  // Opened once for all rounds; closed with the process.
  const int directory = ::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY);
  const int file = ::openat(directory, "file1", O_RDWR);
  if (directory < 0 || file < 0) fail("open");
  subjects.push_back({"fd_read", guest.repeat("read")});
  subjects.push_back({"native_read", [file](uint64_t n) {
                        std::array<char, kBytes> buffer;
                        ::lseek(file, 0, SEEK_SET);
                        for (uint64_t i = 0; i < n; i++) {
                          if (::read(file, buffer.data(), kBytes) != kBytes) fail("read");
                        }
                      }});
  subjects.push_back({"fd_write", guest.repeat("write", 4)});
  subjects.push_back({"native_write", [file](uint64_t n) {
                        const std::array<char, kBytes> buffer{};
                        ::lseek(file, 0, SEEK_SET);
                        for (uint64_t i = 0; i < n; i++) {
                          if (::write(file, buffer.data(), kBytes) != kBytes) fail("write");
                        }
                      }});
  subjects.push_back({"path_open_close", guest.repeat("open_close")});
  subjects.push_back({"native_open_close", [directory](uint64_t n) {
                        open_how how{};
                        how.flags = O_RDONLY | O_CLOEXEC;
                        how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
                        for (uint64_t i = 0; i < n; i++) {
                          const UniqueFd opened(
                              static_cast<int>(::syscall(SYS_openat2, directory, kFile, &how, sizeof how)));
                          if (!opened.valid()) fail("openat2");
                        }
                      }});
  subjects.push_back({"clock_time_get", guest.repeat("clock")});
  subjects.push_back({"native_clock_gettime", [](uint64_t n) {
                        for (uint64_t i = 0; i < n; i++) {
                          timespec now{};
                          if (::clock_gettime(CLOCK_MONOTONIC, &now) != 0 || now.tv_nsec < 0) fail("clock");
                        }
                      }});
  const std::function<void(uint64_t)> write = guest.repeat("write", 1);
  subjects.push_back({"fd_write_captured", [write, &guest](uint64_t n) {
                        write(n);
                        if (guest.wasi().take_output().size() != n * kBytes) fail("capture");
                      }});
  subjects.push_back({"host_function", guest.repeat("take")});
}

void state_subjects(Guest& guest, std::vector<Subject>& subjects) {
  for (int32_t i = 1; i < kOpenFiles; i++) guest.open(i);
  Wasi& wasi = guest.wasi();
  const WasiState begun = wasi.state();
  const std::vector<uint8_t> bytes = wasi.save().value();
  subjects.push_back({"state_save", [&wasi](uint64_t n) {
                        for (uint64_t i = 0; i < n; i++) {
                          if (!wasi.save().ok()) fail("save");
                        }
                      }});
  subjects.push_back({"state_restore", [&wasi, bytes](uint64_t n) {
                        for (uint64_t i = 0; i < n; i++) {
                          if (!wasi.restore(bytes).value().empty()) fail("restore");
                        }
                      }});
  subjects.push_back({"state_reset", [&wasi, begun](uint64_t n) {
                        for (uint64_t i = 0; i < n; i++) wasi.set_state(begun);
                      }});
}

int main_of(int argc, char** argv) {
  const Folder folder;
  bench::Report report("wasi", argc, argv);
  constexpr uint64_t kRounds = 300;
  {
    Guest guest(folder);
    std::vector<Subject> subjects;
    call_subjects(guest, folder, subjects);
    report.add(bench::interleave(subjects, kRounds, 1'000));
  }
  {
    Guest guest(folder);
    std::vector<Subject> subjects;
    state_subjects(guest, subjects);
    report.add(bench::interleave(subjects, kRounds, 20));
  }
  constexpr std::array<std::pair<const char*, const char*>, 4> kPairs{
      {{"fd_read", "native_read"},
       {"fd_write", "native_write"},
       {"path_open_close", "native_open_close"},
       {"clock_time_get", "native_clock_gettime"}}};
  for (const auto& [wasi, native] : kPairs) {
    report.top(std::string(wasi) + "_overhead_ns", report.p50(wasi) - report.p50(native));
  }
  report.ratio("captured_vs_host_function", "fd_write_captured", "host_function", "lower");
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::main_of(argc, argv); }

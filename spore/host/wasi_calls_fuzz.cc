// Any sequence of WASI calls with any arguments, made by a real instance in a small world.  Whatever the
// guest does, it stays in its directories and in its limits, nothing is left behind, and its state can be
// copied, saved and restored.
//
// The bytes are read from the front: one for the world, then calls.  Most arguments are one byte that stands
// for something useful (a descriptor, a place in memory, a path of the dictionary), some for "raw bytes
// follow", so that near misses are as likely as hits.

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "spore/host/instance.h"
#include "spore/host/wasi_files.h"
#include "tests/wasi_binding.h"

namespace spore::host {
namespace {

namespace fs = std::filesystem;

// What a parameter is; two letters for what takes two numbers.
//   f descriptor   o address of a result   p path: address, length   b buffer: address, length
//   v iovecs: address, count   s subscriptions: address, address of the events, count
//   w flags and other small numbers   q number of 64 bits   r rights
struct Function {
  const char* name;
  const char* params;
};
constexpr std::array kFunctions{
    Function{"args_get", "oo"},
    Function{"args_sizes_get", "oo"},
    Function{"environ_get", "oo"},
    Function{"environ_sizes_get", "oo"},
    Function{"clock_res_get", "wo"},
    Function{"clock_time_get", "wqo"},
    Function{"fd_advise", "fqqw"},
    Function{"fd_allocate", "fqq"},
    Function{"fd_close", "f"},
    Function{"fd_datasync", "f"},
    Function{"fd_fdstat_get", "fo"},
    Function{"fd_fdstat_set_flags", "fw"},
    Function{"fd_fdstat_set_rights", "frr"},
    Function{"fd_filestat_get", "fo"},
    Function{"fd_filestat_set_size", "fq"},
    Function{"fd_filestat_set_times", "fqqw"},
    Function{"fd_pread", "fvqo"},
    Function{"fd_prestat_get", "fo"},
    Function{"fd_prestat_dir_name", "fb"},
    Function{"fd_pwrite", "fvqo"},
    Function{"fd_read", "fvo"},
    Function{"fd_readdir", "fbqo"},
    Function{"fd_renumber", "ff"},
    Function{"fd_seek", "fqwo"},
    Function{"fd_sync", "f"},
    Function{"fd_tell", "fo"},
    Function{"fd_write", "fvo"},
    Function{"path_create_directory", "fp"},
    Function{"path_filestat_get", "fwpo"},
    Function{"path_filestat_set_times", "fwpqqw"},
    Function{"path_link", "fwpfp"},
    Function{"path_open", "fwpwrrwo"},
    Function{"path_readlink", "fpbo"},
    Function{"path_remove_directory", "fp"},
    Function{"path_rename", "fpfp"},
    Function{"path_symlink", "pfp"},
    Function{"path_unlink_file", "fp"},
    Function{"poll_oneoff", "so"},
    Function{"proc_raise", "w"},
    Function{"random_get", "b"},
    Function{"sched_yield", ""},
    Function{"sock_accept", "fwo"},
    Function{"sock_recv", "fvwoo"},
    Function{"sock_send", "fvwo"},
    Function{"sock_shutdown", "fw"},
    Function{"proc_exit", "w"},  // the last: it gives nothing
};
// What stands for a change to memory instead of a call.
constexpr uint8_t kPatch = kFunctions.size();

constexpr std::array<std::string_view, 40> kPaths{"f1",
                                                  "big",
                                                  "d1",
                                                  "d1/g",
                                                  "d1/d2",
                                                  "l_in",
                                                  "l_out",
                                                  "l_dir",
                                                  "l_up",
                                                  "l_loop",
                                                  "l_ro",
                                                  "l_abs",
                                                  "fifo",
                                                  ".",
                                                  "..",
                                                  "../outside/secret",
                                                  "l_dir/secret",
                                                  "l_up/outside/secret",
                                                  "d1/../../outside",
                                                  "/",
                                                  "l_abs/secret",
                                                  "new",
                                                  "new/",
                                                  "d1/new",
                                                  "l_dir/",
                                                  "l_out/",
                                                  "d1/",
                                                  "f1/",
                                                  "",
                                                  "d1/..",
                                                  "d1/.",
                                                  "l_dir/..",
                                                  "../outside/new",
                                                  "../ro/a.txt",
                                                  "a.txt",
                                                  "sub",
                                                  "sub/b.txt",
                                                  "h1",
                                                  "d1/d2/../../f1",
                                                  "secret"};

constexpr std::array<uint64_t, 16> kNumbers{0,
                                            1,
                                            2,
                                            7,
                                            100,
                                            4095,
                                            4096,
                                            65536,
                                            1'000'000,
                                            1 << 20,
                                            uint64_t{1} << 31,
                                            UINT32_MAX,
                                            uint64_t{1} << 40,
                                            INT64_MAX,
                                            uint64_t{1} << 63,
                                            UINT64_MAX};

// Guest memory: results, a path, tables of buffers and subscriptions, the dictionary, room for data.
constexpr uint32_t kMemoryBytes = 2 * 65536;
constexpr uint32_t kResultsAt = 0;
constexpr uint32_t kPathAt = 0x400;
constexpr uint32_t kIovecsAt = 0x1000;
constexpr uint32_t kSubscriptionsAt = 0x2000;
constexpr uint32_t kEventsAt = 0x3000;
constexpr uint32_t kDictionaryAt = 0x4000;
constexpr uint32_t kPathRoom = 64;
constexpr uint32_t kDataAt = 0x8000;

constexpr uint64_t kDeadlineMs = 10;
constexpr size_t kCallsMax = 64;
constexpr int kInstancesMax = 4;

bool is_wide(char kind) { return kind == 'q' || kind == 'r'; }
size_t width_of(char kind) { return kind == 's' ? 3 : kind == 'p' || kind == 'b' || kind == 'v' ? 2 : 1; }

std::string module_text(bool with_memory) {
  std::string imports;
  std::string functions;
  for (const Function& function : kFunctions) {
    std::string params;
    std::string arguments;
    size_t count = 0;
    for (const char* kind = function.params; *kind != 0; kind++) {
      for (size_t i = 0; i < width_of(*kind); i++) {
        params += is_wide(*kind) ? " i64" : " i32";
        arguments += fmt::format("(local.get {})", count++);
      }
    }
    const std::string_view result = std::string_view(function.name) == "proc_exit" ? "" : "(result i32)";
    imports += fmt::format("(import \"wasi_snapshot_preview1\" \"{0}\" (func ${0} (param{1}) {2}))\n",
                           function.name, params, result);
    functions += fmt::format("(func (export \"{0}\") (param{1}) {2} (call ${0} {3}))\n", function.name,
                             params, result, arguments);
  }
  return fmt::format("(module {} {} {})", imports, with_memory ? "(memory (export \"memory\") 2)" : "",
                     functions);
}

// --- the world ----------------------------------------------------------------------------------------

// In memory where that can be: guests sync, and a disk may take seconds for that.
fs::path folder_for_worlds() {
  const fs::path memory = "/dev/shm";
  return ::access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path();
}

void put_file(const fs::path& path, std::string_view text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  SPORE_ASSERT(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), "no room");
}

std::string fingerprint_of(int directory, const std::string& name) {
  struct stat stat{};
  SPORE_ASSERT(::fstatat(directory, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) == 0, "it was listed");
  std::string text =
      fmt::format("{} {:o} {} {} {}.{} {}.{}\n", name, stat.st_mode, stat.st_size, stat.st_nlink,
                  stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec, stat.st_ctim.tv_sec, stat.st_ctim.tv_nsec);
  if (S_ISREG(stat.st_mode)) {
    std::array<char, 256> bytes{};
    const UniqueFd file(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    const ssize_t n = ::read(file.get(), bytes.data(), bytes.size());
    text.append(bytes.data(), static_cast<size_t>(std::max<ssize_t>(n, 0)));
  }
  return text;
}

// All that can be seen of a directory, but times of access.
std::string fingerprint(const fs::path& path) {
  const UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  SPORE_ASSERT(directory.valid(), "a directory is gone");
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  std::string text = fingerprint_of(directory.get(), ".");
  for (const std::string& name : names) {
    text += fingerprint_of(directory.get(), name);
    const fs::file_status status = fs::symlink_status(path / name);
    if (fs::is_directory(status)) text += fingerprint(path / name);
  }
  return text;
}

std::string names_in(const fs::path& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return fmt::format("{}", fmt::join(names, " "));
}

// root/ ro: read-only; rw, rw2: writable, made anew for each input; outside: what no guest may see.
class World {
 public:
  World() {
    std::string text = folder_for_worlds() / "spore_wasi_fuzz_XXXXXX";
    SPORE_ASSERT(::mkdtemp(text.data()) != nullptr, "no temporary directory");
    root_ = text;
    // Unlike anything that an input could hold.
    SPORE_ASSERT(::getrandom(canary_.data(), canary_.size(), 0) == static_cast<ssize_t>(canary_.size()),
                 "no random numbers");
    for (const char* name : {"outside/dir", "ro/sub", "rw", "rw2"}) fs::create_directories(root_ / name);
    put_file(root_ / "outside/secret", canary());
    put_file(root_ / "ro/a.txt", "read only a");
    put_file(root_ / "ro/sub/b.txt", "read only b");
    put_links(root_ / "ro", "a.txt");
    outside_ = fingerprint(root_ / "outside");
    read_only_ = fingerprint(root_ / "ro");
    names_ = names_in(root_);
  }
  ~World() { fs::remove_all(root_); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  std::string_view canary() const { return {reinterpret_cast<const char*>(canary_.data()), canary_.size()}; }
  std::string path(std::string_view name) const { return root_ / name; }

  void rebuild() const {
    for (const char* name : {"rw", "rw2"}) {
      for (const auto& entry : fs::directory_iterator(root_ / name)) fs::remove_all(entry.path());
    }
    const fs::path rw = root_ / "rw";
    put_file(rw / "f1", "hello world");
    put_file(rw / "big", std::string(5000, 'b'));
    fs::create_directories(rw / "d1/d2");
    put_file(rw / "d1/g", "deeper");
    fs::create_hard_link(rw / "f1", rw / "h1");
    put_links(rw, "f1");
    put_file(root_ / "rw2/x", "x");
  }

  void check() const {
    SPORE_ASSERT(fingerprint(root_ / "outside") == outside_, "the guest changed something outside");
    SPORE_ASSERT(fingerprint(root_ / "ro") == read_only_, "the guest changed the read-only directory");
    SPORE_ASSERT(names_in(root_) == names_, "the guest changed what lies above its directories");
  }

 private:
  void put_links(const fs::path& where, std::string_view inner) const {
    fs::create_symlink(inner, where / "l_in");
    fs::create_symlink("../outside/secret", where / "l_out");
    fs::create_symlink("../outside", where / "l_dir");
    fs::create_symlink("..", where / "l_up");
    fs::create_symlink("l_loop", where / "l_loop");
    fs::create_symlink("../ro/a.txt", where / "l_ro");
    fs::create_symlink(root_ / "outside", where / "l_abs");
    SPORE_ASSERT(::mkfifo((where / "fifo").c_str(), 0666) == 0, "no fifo");
  }

  fs::path root_;
  std::array<uint8_t, 32> canary_{};
  std::string outside_;
  std::string read_only_;
  std::string names_;
};

// What the first byte of an input says of its world.
struct Choice {
  explicit Choice(uint8_t byte)
      : config(byte % 8),
        without_memory((byte & 8) != 0),
        own_input((byte & 16) != 0),
        own_output((byte & 32) != 0) {}
  size_t config;  // bit 0: a clock of its own; 1: a coarse one; 2: a seed
  bool without_memory;
  bool own_input;
  bool own_output;
};

std::shared_ptr<const WasiConfig> make_config(const World& world, size_t bits) {
  WasiOptions options;
  options.args = {"fuzz", "", "argument"};
  options.env = {"A=b"};
  options.directories = {
      {world.path("ro"), "/ro", false}, {world.path("rw"), "/rw", true}, {world.path("rw2"), "rw2", true}};
  if ((bits & 1) != 0) options.clock = WasiClock();
  if ((bits & 2) != 0) options.clock_resolution_ns = 1'000;
  if ((bits & 4) != 0) options.random_seed = bits;
  options.output_bytes_max = 10'000;
  return WasiConfig::create(std::move(options)).value();
}

engine::Limits small_limits() {
  engine::Limits limits;
  limits.deadline_ms = kDeadlineMs;
  limits.memory_bytes_max = kMemoryBytes;
  limits.io_bytes_max = 1 << 20;
  limits.host_calls_max = 1'000;
  limits.open_files_max = 16;
  return limits;
}

// Ends the process when a call does: what cannot be interrupted cannot report itself.
class Watchdog {
 public:
  void begin() { seconds_left_.store(kSecondsMax); }
  void end() { seconds_left_.store(0); }

 private:
  static constexpr int kSecondsMax = 10;

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (++tenths_ % 10 != 0) continue;
      int left = seconds_left_.load();
      if (left == 0) continue;
      SPORE_ASSERT(left != 1, "a call does not end");
      seconds_left_.compare_exchange_strong(left, left - 1);
    }
  }

  std::atomic<int> seconds_left_{0};
  int tenths_ = 0;
  std::jthread thread_{[this](const std::stop_token& stop) { run(stop); }};
};

struct Fuzzer {
  World world;
  std::array<std::shared_ptr<const WasiConfig>, 8> configs;
  std::shared_ptr<const engine::Binding> module = test::wasi_binding(module_text(true));
  std::shared_ptr<const engine::Binding> bare = test::wasi_binding(module_text(false));
  Watchdog watchdog;

  Fuzzer() {
    for (size_t i = 0; i < configs.size(); i++) configs[i] = make_config(world, i);
  }
};

// --- one input ----------------------------------------------------------------------------------------

class Bytes {
 public:
  explicit Bytes(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  uint64_t take(size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size && !bytes_.empty(); i++, bytes_ = bytes_.subspan(1)) {
      value |= uint64_t{bytes_.front()} << (8 * i);
    }
    return value;
  }
  uint8_t byte() { return static_cast<uint8_t>(take(1)); }
  std::string_view text(size_t size) {
    const auto part = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(part.size());
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

 private:
  std::span<const uint8_t> bytes_;
};

size_t count_descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) count++;
  return count;
}

// Other threads, sanitizers' too, open something for a moment now and then; what was left open stays.
bool left_open(size_t before) {
  constexpr int kLooksMax = 100;
  for (int look = 0; look < kLooksMax; look++) {
    if (count_descriptors() <= before) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

class Run {
 public:
  Run(Fuzzer& fuzzer, std::span<const uint8_t> input)
      : fuzzer_(fuzzer), bytes_(input), choice_(bytes_.byte()), config_(fuzzer.configs[choice_.config]) {}

  void go() {
    WasiState state = config_->initial();
    size_t calls = 0;
    // A guest that was stopped goes on as another instance with the same state.
    for (int i = 0; i < kInstancesMax && !bytes_.empty() && calls < kCallsMax; i++) {
      Instance instance = make_instance(state);
      while (!bytes_.empty() && calls < kCallsMax && !instance.retired()) {
        step(instance);
        calls++;
      }
      check_memory(instance);
      check_state(*instance.wasi());
      state = instance.wasi()->state();
    }
  }

 private:
  Instance make_instance(const WasiState& state) {
    auto wasi = std::make_unique<Wasi>(config_);
    wasi->set_input("line one\nline two\n");
    if (choice_.own_input) {
      wasi->set_input(make_input([turn = 0](std::span<std::byte> into) mutable -> Input::Read {
        if (turn++ % 3 != 0) return {turn > 8 ? Input::Outcome::kEnd : Input::Outcome::kWait};
        into[0] = std::byte{'i'};
        return {Input::Outcome::kData, 1};
      }));
    }
    if (choice_.own_output) wasi->set_output(make_output([](std::span<const std::byte>) {}));
    wasi->set_state(state);
    SPORE_ASSERT(wasi->state() == state, "a state that was set is another");
    Instance instance = Instance::create(choice_.without_memory ? fuzzer_.bare : fuzzer_.module,
                                         small_limits(), nullptr, std::move(wasi))
                            .value();
    if (!choice_.without_memory) {
      for (uint32_t i = 0; i < kPaths.size(); i++) {
        poke(instance, kDictionaryAt + i * kPathRoom, kPaths[i]);
      }
    }
    return instance;
  }

  void poke(Instance& instance, uint64_t address, std::string_view bytes) const {
    if (choice_.without_memory) return;
    static_cast<void>(instance.write_string(engine::GuestPtr{address}, bytes));
  }
  template <typename T>
  void poke(Instance& instance, uint64_t address, const T& value) const {
    poke(instance, address, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
  }

  // --- arguments ---

  uint32_t descriptor() {
    const uint8_t byte = bytes_.byte();
    return byte < 0xF8 ? byte % 20 : static_cast<uint32_t>(bytes_.take(4));
  }
  uint32_t small() {
    const uint8_t byte = bytes_.byte();
    return byte < 0xF8 ? byte % 64 : static_cast<uint32_t>(bytes_.take(4));
  }
  uint64_t number() {
    const uint8_t byte = bytes_.byte();
    if (byte < 0xC0) return kNumbers[byte % kNumbers.size()];
    return byte < 0xE0 ? bytes_.byte() : bytes_.take(8);
  }
  uint64_t rights() {
    const uint8_t byte = bytes_.byte();
    if (byte < 0x80) return wasi::kInheritedRights;
    if (byte < 0xA0) return wasi::kFdRead | wasi::kFdSeek | wasi::kFdTell | wasi::kFdReaddir;
    if (byte < 0xC0) return 0;
    return byte < 0xE0 ? bytes_.take(4) : bytes_.take(8);
  }
  uint32_t address() {
    const uint8_t byte = bytes_.byte();
    if (byte < 0x40) return kResultsAt + byte * 8;
    if (byte < 0x80) return kDataAt + byte * 256;
    if (byte < 0xA0) return kIovecsAt + byte;
    if (byte < 0xC0) return kDictionaryAt + byte;
    if (byte < 0xE0) return kMemoryBytes - byte % 32;
    return byte < 0xF0 ? byte : static_cast<uint32_t>(bytes_.take(4));
  }
  uint32_t length() {
    const uint8_t byte = bytes_.byte();
    if (byte < 0x80) return byte;
    if (byte < 0xF0) return byte * 64;
    return static_cast<uint32_t>(bytes_.take(4));
  }

  void push(uint64_t value) {
    SPORE_ASSERT(count_ < values_.size(), "a call has fewer arguments");
    values_[count_].v128 = {};
    values_[count_++].i64 = static_cast<int64_t>(value);
  }

  void push_path(Instance& instance) {
    const uint8_t byte = bytes_.byte();
    if (byte < 0xD0) {
      const uint32_t index = byte % kPaths.size();
      push(kDictionaryAt + index * kPathRoom);
      push(kPaths[index].size());
    } else if (byte < 0xF8) {
      const uint8_t size = bytes_.byte();
      // Every other place, so that two paths of a call do not overwrite each other.
      path_at_ = path_at_ == kPathAt ? kPathAt + 0x200 : kPathAt;
      const std::string_view text = bytes_.text(size);
      poke(instance, path_at_, text);
      push(path_at_);
      push(text.size());
    } else if (byte == 0xF8) {
      // As long as paths get, and a little longer.
      const std::string text(4090 + bytes_.byte() % 8, 'p');
      poke(instance, kDataAt, text);
      push(kDataAt);
      push(text.size());
    } else {
      push(address());
      push(length());
    }
  }

  void push_iovecs(Instance& instance) {
    const uint8_t byte = bytes_.byte();
    if (byte >= 0xF0) {
      push(address());
      push(length());
      return;
    }
    const uint32_t count = byte % 8;
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t at = address();
      poke(instance, kIovecsAt + i * 8, wasi::Iovec{.address = at, .length = length()});
    }
    push(kIovecsAt);
    push(count);
  }

  void push_subscriptions(Instance& instance) {
    const uint8_t byte = bytes_.byte();
    if (byte >= 0xF0) {
      push(address());
      push(address());
      push(length());
      return;
    }
    const uint32_t count = byte % 5;
    for (uint32_t i = 0; i < count; i++) {
      wasi::Subscription one{};
      one.user_data = i;
      one.tag = bytes_.byte() % 4;
      one.id = one.tag == 0 ? small() % 6 : descriptor();
      one.timeout_ns = number();
      one.clock_flags = bytes_.byte() % 4;
      poke(instance, kSubscriptionsAt + i * sizeof one, one);
    }
    push(kSubscriptionsAt);
    push(kEventsAt);
    push(count);
  }

  void push_argument(Instance& instance, char kind) {
    switch (kind) {
      case 'f': push(descriptor()); break;
      case 'o': push(address()); break;
      case 'p': push_path(instance); break;
      case 'b':
        push(address());
        push(length());
        break;
      case 'v': push_iovecs(instance); break;
      case 's': push_subscriptions(instance); break;
      case 'w': push(small()); break;
      case 'q': push(number()); break;
      case 'r': push(rights()); break;
      default: SPORE_ASSERT(false, "no such kind");
    }
  }

  // --- calls ---

  void step(Instance& instance) {
    const size_t index = bytes_.byte() % (kFunctions.size() + 1);
    if (index == kPatch) {
      const uint32_t at = address();
      poke(instance, at, bytes_.text(bytes_.byte()));
      return;
    }
    const Function& function = kFunctions[index];
    count_ = 0;
    for (const char* kind = function.params; *kind != 0; kind++) push_argument(instance, *kind);
    if (count_ == 0) values_[0].v128 = {};
    call(instance, function);
  }

  void call(Instance& instance, const Function& function) {
    const engine::RawFunction raw = instance.raw_function(function.name).value();
    fuzzer_.watchdog.begin();
    const auto begin = std::chrono::steady_clock::now();
    const Status status = raw.call_unchecked(values_.data(), values_.size());
    const auto elapsed = std::chrono::steady_clock::now() - begin;
    fuzzer_.watchdog.end();
    // Much more than is promised: other programs may have the processor.
    SPORE_ASSERT(elapsed < std::chrono::milliseconds(kDeadlineMs) + std::chrono::seconds(3),
                 fmt::format("{} lasted too long", function.name));
    if (status.ok()) {
      const auto error = static_cast<uint32_t>(values_[0].i32);
      const bool exits = std::string_view(function.name) == "proc_exit";
      SPORE_ASSERT(!exits, "it exits");
      SPORE_ASSERT(error <= static_cast<uint32_t>(wasi::Errno::kNotCapable),
                   fmt::format("{} gave {}", function.name, error));
      return;
    }
    const Code code = status.code();
    SPORE_ASSERT(instance.retired(), status.message());
    SPORE_ASSERT(code == Code::kExited || code == Code::kLimitExceeded || code == Code::kDeadlineExceeded,
                 status.message());
    SPORE_ASSERT((code == Code::kExited) == (std::string_view(function.name) == "proc_exit"),
                 status.message());
  }

  // --- what must hold ---

  void check_memory(const Instance& instance) const {
    const auto has_canary = [&](std::string_view text) {
      return std::search(text.begin(), text.end(), fuzzer_.world.canary().begin(),
                         fuzzer_.world.canary().end()) != text.end();
    };
    if (!choice_.without_memory) {
      const std::string memory = instance.read_string(engine::GuestPtr{0}, instance.memory_bytes()).value();
      SPORE_ASSERT(!has_canary(memory), "the guest read the secret");
    }
    SPORE_ASSERT(!has_canary(instance.wasi()->take_output()), "the guest wrote the secret");
  }

  void check_state(const Wasi& wasi) const {
    const WasiState& state = wasi.state();
    const WasiState copy = state;  // NOLINT(performance-unnecessary-copy-initialization)
    SPORE_ASSERT(copy == state, "a copy is not equal");
    size_t open = 0;
    for (const Descriptor& one : state.descriptors) open += one.kind != DescriptorKind::kClosed ? 1 : 0;
    SPORE_ASSERT(open <= 16, "more open files than the limit");

    const std::vector<uint8_t> bytes = wasi.save().value();
    const SavedWasi saved = decode_wasi(bytes).value();
    SPORE_ASSERT(encode(saved) == bytes, "the saved state is not the same when written again");
    Wasi other(config_);
    const std::vector<Wasi::Lost> lost = other.restore(bytes).value();
    WasiState expected = state;
    for (const Wasi::Lost& one : lost) {
      Descriptor& descriptor = expected.descriptors.at(one.descriptor);
      SPORE_ASSERT(descriptor.kind == DescriptorKind::kOpened, "what was not open was lost");
      SPORE_ASSERT(!is_there(descriptor), fmt::format("lost, but there: {}: {}", one.path, one.reason));
      descriptor.kind = DescriptorKind::kLost;
    }
    if (!config_->options().clock.has_value()) expected.clock_ns = other.state().clock_ns;
    SPORE_ASSERT(other.state() == expected, "the restored state is another");
    SPORE_ASSERT(decode_wasi(other.save().value()).ok(), "a restored state cannot be saved");
  }

  // Whether a descriptor's path still leads to its file; what is neither file nor directory is lost anyway.
  bool is_there(const Descriptor& descriptor) const {
    UniqueFd node;
    if (wasi::open_beneath(config_->directory(descriptor.directory), descriptor.path.c_str(), O_PATH, 0,
                           node) != wasi::Errno::kSuccess) {
      return false;
    }
    struct stat now{};
    struct stat then{};
    SPORE_ASSERT(::fstat(node.get(), &now) == 0 && ::fstat(descriptor.file->fd.get(), &then) == 0,
                 "open files");
    const bool usable = S_ISREG(then.st_mode) || S_ISDIR(then.st_mode);
    return usable && now.st_dev == then.st_dev && now.st_ino == then.st_ino;
  }

  Fuzzer& fuzzer_;
  Bytes bytes_;
  Choice choice_;
  std::shared_ptr<const WasiConfig> config_;
  std::array<engine::RawValue, 12> values_{};
  size_t count_ = 0;
  uint32_t path_at_ = kPathAt;
};

}  // namespace
}  // namespace spore::host

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static spore::host::Fuzzer fuzzer;
  fuzzer.world.rebuild();
  const size_t before = spore::host::count_descriptors();
  spore::host::Run(fuzzer, {data, size}).go();
  SPORE_ASSERT(!spore::host::left_open(before), "a descriptor of the host was left open");
  fuzzer.world.check();
  return 0;
}

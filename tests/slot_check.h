#pragma once

// What a slot holds, looked at from outside, and the system's settings that tests of memories turn.

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spore/base/fd.h"
#include "spore/memory/slot.h"

namespace spore::test {

inline constexpr size_t kPage = memory::kPageBytes;
inline constexpr size_t kWasmPage = 64 * 1024;

// Bytes none of which is zero, and no page of which is like another.
inline std::vector<std::byte> pattern(size_t bytes, uint64_t seed = 1) {
  std::vector<std::byte> made(bytes);
  for (size_t i = 0; i < bytes; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    made[i] = static_cast<std::byte>(seed >> 56 | 1);
  }
  return made;
}

// Copies memory of this process by a system call: no access of our own that would count as a page fault, and
// where there is no access, false.
inline bool copy_from(const std::byte* from, std::span<std::byte> to) {
  const iovec local{to.data(), to.size()};
  const iovec remote{const_cast<std::byte*>(from), to.size()};
  return ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(to.size());
}

inline bool accessible(const std::byte* address) {
  std::byte byte{};
  return copy_from(address, {&byte, 1});
}

// Where there is access to the slot's range and must not be; "" if nowhere.  Guards, and all beyond bytes().
inline std::string guards_differ(const memory::Slot& slot) {
  const auto base = reinterpret_cast<uintptr_t>(slot.base());
  const uintptr_t begin = base - slot.shape().guard;
  const uintptr_t end = base + slot.capacity() + slot.shape().guard;
  uintptr_t covered = begin;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t from = 0;
    uintptr_t to = 0;
    char access[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, access) != 3) return "cannot read: " + line;
    from = std::max(from, begin);
    to = std::min(to, end);
    if (from >= to) continue;
    if (from != covered) return "a hole before " + line;
    covered = to;
    const bool memory = from >= base && to <= base + slot.bytes();
    if (std::string(access) != (memory ? "rw-p" : "---p")) return line;
  }
  return covered == end ? "" : "not all of it is mapped";
}

// What a memory begins with, and how a slot differs from it.
class Start {
 public:
  // `data` and then zeros.  Without data there is no image.
  Start(std::vector<std::byte> data, size_t bytes) : all_(std::move(data)), now_(bytes) {
    if (!all_.empty()) {
      std::vector<std::byte> pages = all_;
      pages.resize((pages.size() + kPage - 1) / kPage * kPage);
      image_ = memory::PageImage::create(pages).value();
    }
    all_.resize(bytes);
  }

  size_t bytes() const { return all_.size(); }
  const std::shared_ptr<const memory::PageImage>& image() const { return image_; }
  Status open(memory::Slot& slot, const memory::ResetOptions& options = {}) const {
    return slot.open(bytes(), image_, options);
  }

  // The first byte that is not as it was; "" if there is none.  Takes no page fault in user mode.
  std::string differs(const memory::Slot& slot) {
    if (slot.bytes() != bytes()) return "it has " + std::to_string(slot.bytes()) + " bytes";
    if (!copy_from(slot.base(), now_)) return "it cannot be read";
    const auto [is, was] = std::ranges::mismatch(now_, all_);
    if (is == now_.end()) return "";
    const auto at = static_cast<size_t>(is - now_.begin());
    return "byte " + std::to_string(at) + " of page " + std::to_string(at / kPage) + " is " +
           std::to_string(static_cast<int>(*is)) + ", not " + std::to_string(static_cast<int>(*was));
  }

 private:
  std::vector<std::byte> all_;
  std::vector<std::byte> now_;  // made once: the first use of memory is a page fault
  std::shared_ptr<const memory::PageImage> image_;
};

inline constexpr memory::SlotShape kShape{.capacity = 16 * kWasmPage, .guard = kWasmPage};

// Null where the system has none.
inline std::shared_ptr<const memory::PageScanner> scanner() {
  static const std::shared_ptr<const memory::PageScanner> made = []() -> decltype(made) {
    auto result = memory::PageScanner::create();
    if (!result.ok()) return nullptr;
    return std::move(result).value();
  }();
  return made;
}

inline std::unique_ptr<memory::Slot> new_slot(const memory::SlotShape& shape = kShape) {
  return memory::Slot::create(shape, scanner()).value();
}

// As a guest does, in user mode: changes a byte in each page.
inline void write_pages(const memory::Slot& slot, size_t first, size_t count, size_t stride = 1) {
  volatile auto* bytes = reinterpret_cast<volatile unsigned char*>(slot.base());
  for (size_t i = 0; i < count; i++) {
    const size_t at = (first + i * stride) * kPage + i % kPage;
    bytes[at] = bytes[at] ^ 0x5a;
  }
}

inline void fill(const memory::Slot& slot) { std::memset(slot.base(), 0xee, slot.bytes()); }

// Settings of the whole machine, put back at the end.  One test at a time may have them.
class SystemSettings {
 public:
  SystemSettings() : lock_(::open("/tmp/spore_test_settings.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0666)) {
    static_cast<void>(::flock(lock_.get(), LOCK_EX));
  }
  ~SystemSettings() {
    while (!old_.empty()) {
      static_cast<void>(write(old_.back().first, old_.back().second));
      old_.pop_back();
    }
  }
  SystemSettings(const SystemSettings&) = delete;
  SystemSettings& operator=(const SystemSettings&) = delete;

  // False if it may not be changed, or is not there.
  bool set(const std::string& path, const std::string& value) {
    std::string old = read(path);
    if (!write(path, value)) return false;
    old_.emplace_back(path, std::move(old));
    return true;
  }

 private:
  // Of a choice, as "always [madvise] never", the word that is chosen.
  static std::string read(const std::string& path) {
    std::string text;
    std::getline(std::ifstream(path), text);
    const size_t chosen = text.find('[');
    return chosen == std::string::npos ? text : text.substr(chosen + 1, text.find(']') - chosen - 1);
  }
  static bool write(const std::string& path, const std::string& value) {
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    return file.valid() &&
           ::write(file.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
  }

  UniqueFd lock_;
  std::vector<std::pair<std::string, std::string>> old_;
};

// Some room to swap to: the machine's own, or for the time of the test a file of 4 MiB.
class SwapFile {
 public:
  SwapFile() {
    std::ifstream swaps("/proc/swaps");
    std::string line;
    std::getline(swaps, line);
    if (std::getline(swaps, line)) return;  // there is some
    std::vector<std::byte> bytes(4 << 20);
    const auto put = [&](size_t at, const auto& value) { std::memcpy(&bytes[at], &value, sizeof value); };
    put(1024, uint32_t{1});                                                   // the version
    put(1028, static_cast<uint32_t>(bytes.size() / memory::kPageBytes - 1));  // the last page
    std::memcpy(&bytes[memory::kPageBytes - 10], "SWAPSPACE2", 10);
    const UniqueFd file(::mkostemp(path_.data(), O_CLOEXEC));
    const bool written = file.valid() &&
                         ::write(file.get(), bytes.data(), bytes.size()) == ssize_t{4 << 20} &&
                         ::fsync(file.get()) == 0;
    on_ = written && ::swapon(path_.c_str(), 0) == 0;
    if (!on_) problem_ = std::string("no swap, and none can be made: ") + std::strerror(errno);
  }
  ~SwapFile() {
    if (on_) ::swapoff(path_.c_str());
    ::unlink(path_.c_str());
  }
  SwapFile(const SwapFile&) = delete;
  SwapFile& operator=(const SwapFile&) = delete;

  // Why there is none; "" if there is.
  const std::string& problem() const { return problem_; }

 private:
  SystemSettings settings_;                             // for its lock: two such files would be used in turns
  std::string path_ = SPORE_BINARY_DIR "/swap.XXXXXX";  // not in /tmp, which may be memory itself
  std::string problem_;
  bool on_ = false;
};

inline size_t swapped_pages(const std::byte* base, size_t bytes) {
  std::vector<uint64_t> entries(bytes / kPage);
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const auto at = static_cast<off_t>(reinterpret_cast<uintptr_t>(base) / kPage * sizeof(uint64_t));
  if (::pread(pagemap.get(), entries.data(), entries.size() * sizeof(uint64_t), at) < 0) return 0;
  return static_cast<size_t>(std::ranges::count_if(entries, [](uint64_t entry) { return entry >> 62 & 1; }));
}

// Until so many pages of the range are swapped out; false if the kernel does not do it.
inline bool page_out(std::byte* base, size_t bytes, size_t pages) {
  for (int tries = 0; tries < 200 && swapped_pages(base, bytes) < pages; tries++) {
    if (::madvise(base, bytes, MADV_PAGEOUT) != 0) return false;
    ::usleep(1000);  // pages wait in a batch of another processor
  }
  return swapped_pages(base, bytes) >= pages;
}

}  // namespace spore::test

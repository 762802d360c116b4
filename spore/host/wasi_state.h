#pragma once

// All that a guest of WASI can find out or change about itself, as a value.  Byte for byte:
// docs/formats/wasi.md.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "spore/base/status.h"
#include "spore/host/wasi_abi.h"

namespace spore::host {

namespace wasi {
struct OpenFile;
}

// What a descriptor of the guest stands for.
enum class DescriptorKind : uint8_t {
  kClosed,
  kInput,    // standard input
  kOutput,   // standard output
  kError,    // standard error
  kPreopen,  // a directory that the host gave
  kOpened,   // a file or directory that the guest opened below one of them
  kLost,     // was kOpened; gone or changed when the state was restored, or a device.  Can only be closed
};

struct Descriptor {
  DescriptorKind kind = DescriptorKind::kClosed;
  // Of kOpened, kUnknown until it is first used: a device or a fifo is found out, and lost, then.
  wasi::FileType type = wasi::FileType::kUnknown;
  uint16_t directory = 0;  // which of WasiOptions::directories
  wasi::FdFlags flags = 0;
  wasi::Rights rights_base = 0;
  wasi::Rights rights_inheriting = 0;
  bool readable = false;  // how the file was opened: rights may have been dropped since
  bool writable = false;
  uint64_t position = 0;
  std::string path;  // below that directory, as the guest spelled it

  // The host's side, shared by all copies; not part of the value.
  std::shared_ptr<const wasi::OpenFile> file;

  bool operator==(const Descriptor& other) const;
};

// Copies share open files of the host, and nothing else: each has its own positions.
struct WasiState {
  std::vector<std::string> args;
  std::vector<std::string> env;         // "NAME=value"
  std::vector<Descriptor> descriptors;  // by number; the last is not kClosed
  std::optional<uint32_t> exit_code;
  uint64_t input_position = 0;  // bytes read of an input that is given as bytes
  uint64_t random_counter = 0;  // numbers drawn, where they come from a seed
  // The guest's clock: with WasiOptions::clock, nanoseconds that passed; else what the host's monotonic
  // clock showed when the guest's showed 0.
  uint64_t clock_ns = 0;

  bool operator==(const WasiState&) const = default;
};

// What a state may hold, in memory and as bytes.
inline constexpr uint32_t kWasiTextsMax = 100'000;  // arguments; variables
inline constexpr size_t kWasiTextBytesMax = size_t{1} << 20;
inline constexpr uint32_t kWasiDirectoriesMax = 1'000;
inline constexpr uint32_t kWasiDescriptorsMax = 10'000;

// A file as it was when its state was saved: for telling whether it is the same.  Size and time of the last
// change, and not the inode: a directory may have been copied to another machine since.
struct FileMark {
  uint64_t size = 0;
  uint64_t modify_ns = 0;
  bool operator==(const FileMark&) const = default;
};

// A state taken apart.
struct SavedWasi {
  WasiState state;                       // without open files
  std::vector<FileMark> marks;           // one for each descriptor
  std::vector<std::string> directories;  // their names, in the order that descriptors count them
  uint64_t monotonic_ns = 0;             // the guest's monotonic clock when it was saved
};
std::vector<uint8_t> encode(const SavedWasi& saved);
// kCorruption: says where; kUnsupported: written by a newer version.
Result<SavedWasi> decode_wasi(std::span<const uint8_t> bytes);

}  // namespace spore::host

// The state of WASI as bytes: encode, decode_wasi.  Byte for byte: docs/formats/wasi.md.
//
// The bytes may come from another machine or from an attacker.  What they say is held to what a guest could
// have brought about; the files that they name are opened below the config's directories, as a guest's are.
#include "spore/host/wasi_state.h"

#include <algorithm>

#include "spore/base/bytes.h"
#include "spore/host/wasi_files.h"

namespace spore::host {
namespace {

constexpr uint32_t kMagic = 0x41575053;  // "SPWA"
constexpr uint16_t kVersion = 1;

constexpr size_t kDescriptorBytesMin = 1;  // a closed one

void write_texts(ByteWriter& writer, const std::vector<std::string>& texts) {
  writer.u32(static_cast<uint32_t>(texts.size()));
  for (const std::string& text : texts) writer.text(text);
}

std::vector<std::string> read_texts(ByteReader& reader, uint32_t max) {
  std::vector<std::string> texts;
  const uint32_t count = reader.count(max, sizeof(uint32_t));
  for (uint32_t i = 0; i < count && reader.ok(); i++) {
    texts.push_back(reader.text(kWasiTextBytesMax));
    if (texts.back().find('\0') != std::string::npos) reader.fail("a zero byte in a text");
  }
  return texts;
}

void write_descriptor(ByteWriter& writer, const Descriptor& descriptor, const FileMark& mark) {
  writer.u8(static_cast<uint8_t>(descriptor.kind));
  if (descriptor.kind == DescriptorKind::kClosed) return;
  writer.u8(static_cast<uint8_t>(descriptor.type))
      .u16(descriptor.directory)
      .u16(descriptor.flags)
      .u8(descriptor.readable ? 1 : 0)
      .u8(descriptor.writable ? 1 : 0)
      .u64(descriptor.rights_base)
      .u64(descriptor.rights_inheriting)
      .u64(descriptor.position)
      .u64(mark.size)
      .u64(mark.modify_ns)
      .text(descriptor.path);
}

bool read_switch(ByteReader& reader) {
  const uint8_t value = reader.u8();
  if (value > 1) reader.fail("a switch is neither 0 nor 1");
  return value == 1;
}

template <typename Enum>
Enum read_enum(ByteReader& reader, Enum last, std::string_view complaint) {
  const uint8_t value = reader.u8();
  if (value <= static_cast<uint8_t>(last)) return static_cast<Enum>(value);
  reader.fail(complaint);
  return Enum{};
}

// What the kind of a descriptor says about the rest of it.
void check_kind(ByteReader& reader, const Descriptor& descriptor, size_t directories) {
  const bool is_file =
      descriptor.type == wasi::FileType::kRegularFile || descriptor.type == wasi::FileType::kUnknown;
  const bool is_directory = descriptor.type == wasi::FileType::kDirectory;
  switch (descriptor.kind) {
    case DescriptorKind::kClosed: break;
    case DescriptorKind::kInput:
    case DescriptorKind::kOutput:
    case DescriptorKind::kError: {
      const bool reads = descriptor.kind == DescriptorKind::kInput;
      const wasi::Rights possible = reads ? wasi::kInputRights : wasi::kOutputRights;
      if (descriptor.type != wasi::FileType::kUnknown || descriptor.directory != 0 ||
          descriptor.position != 0 || !descriptor.path.empty() || descriptor.readable != reads ||
          descriptor.writable == reads || (descriptor.rights_base & ~possible) != 0 ||
          descriptor.rights_inheriting != 0) {
        reader.fail("no standard stream is like this");
      }
      break;
    }
    case DescriptorKind::kPreopen:
      if (!is_directory || !descriptor.path.empty() || descriptor.readable || descriptor.writable ||
          (descriptor.rights_base & ~wasi::kDirectoryRights) != 0) {
        reader.fail("no directory is like this");
      }
      if (descriptor.directory >= directories) reader.fail("no such directory");
      break;
    case DescriptorKind::kOpened:
      if (!is_file && !is_directory) reader.fail("neither file nor directory");
      if (is_directory && (descriptor.readable || descriptor.writable))
        reader.fail("no directory is like this");
      [[fallthrough]];
    case DescriptorKind::kLost:
      if (descriptor.directory >= directories) reader.fail("no such directory");
  }
}

Descriptor read_descriptor(ByteReader& reader, size_t directories, FileMark& mark) {
  Descriptor descriptor;
  descriptor.kind = read_enum(reader, DescriptorKind::kLost, "no such kind of descriptor");
  if (!reader.ok() || descriptor.kind == DescriptorKind::kClosed) return {};
  descriptor.type = read_enum(reader, wasi::FileType::kSymbolicLink, "no such type of file");
  descriptor.directory = reader.u16();
  descriptor.flags = reader.u16();
  if ((descriptor.flags & ~wasi::kFdFlagsAll) != 0) reader.fail("unknown flags");
  descriptor.readable = read_switch(reader);
  descriptor.writable = read_switch(reader);
  descriptor.rights_base = reader.u64();
  descriptor.rights_inheriting = reader.u64();
  if (((descriptor.rights_base | descriptor.rights_inheriting) & ~wasi::kInheritedRights) != 0) {
    reader.fail("unknown rights");
  }
  descriptor.position = reader.u64();
  if (descriptor.position > static_cast<uint64_t>(INT64_MAX)) reader.fail("a position is too large");
  mark.size = reader.u64();
  mark.modify_ns = reader.u64();
  descriptor.path = reader.text(wasi::Path::kBytesMax - 1);
  if (descriptor.path.find('\0') != std::string::npos) reader.fail("a zero byte in a path");

  if (reader.ok()) check_kind(reader, descriptor, directories);
  return descriptor;
}

}  // namespace

bool Descriptor::operator==(const Descriptor& other) const {
  return kind == other.kind && type == other.type && directory == other.directory && flags == other.flags &&
         rights_base == other.rights_base && rights_inheriting == other.rights_inheriting &&
         readable == other.readable && writable == other.writable && position == other.position &&
         path == other.path;
}

std::vector<uint8_t> encode(const SavedWasi& saved) {
  SPORE_ASSERT(saved.marks.size() == saved.state.descriptors.size(), "one mark for each descriptor");
  const WasiState& state = saved.state;
  ByteWriter writer;
  writer.u32(kMagic).u16(kVersion).u16(0);
  writer.u8(state.exit_code.has_value() ? 1 : 0).u32(state.exit_code.value_or(0));
  writer.u64(state.input_position).u64(state.random_counter).u64(state.clock_ns).u64(saved.monotonic_ns);
  write_texts(writer, state.args);
  write_texts(writer, state.env);
  write_texts(writer, saved.directories);
  writer.u32(static_cast<uint32_t>(state.descriptors.size()));
  for (size_t i = 0; i < state.descriptors.size(); i++) {
    write_descriptor(writer, state.descriptors[i], saved.marks[i]);
  }
  return writer.take();
}

Result<SavedWasi> decode_wasi(std::span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  if (reader.u32() != kMagic) reader.fail("this is no state of WASI");
  const uint16_t version = reader.u16();
  if (reader.ok() && version != kVersion) {
    return Status::unsupported("format version {}, this build reads {}", version, kVersion);
  }
  if (reader.u16() != 0) reader.fail("the reserved field is not 0");
  SavedWasi saved;
  WasiState& state = saved.state;
  const bool exited = read_switch(reader);
  const uint32_t exit_code = reader.u32();
  if (exited) state.exit_code = exit_code;
  if (!exited && exit_code != 0) reader.fail("an exit code without an exit");
  state.input_position = reader.u64();
  state.random_counter = reader.u64();
  state.clock_ns = reader.u64();
  saved.monotonic_ns = reader.u64();
  state.args = read_texts(reader, kWasiTextsMax);
  state.env = read_texts(reader, kWasiTextsMax);
  saved.directories = read_texts(reader, kWasiDirectoriesMax);
  const uint32_t count = reader.count(kWasiDescriptorsMax, kDescriptorBytesMin);
  for (uint32_t i = 0; i < count && reader.ok(); i++) {
    FileMark mark;
    state.descriptors.push_back(read_descriptor(reader, saved.directories.size(), mark));
    saved.marks.push_back(mark);
  }
  if (!state.descriptors.empty() && state.descriptors.back().kind == DescriptorKind::kClosed) {
    reader.fail("the last descriptor is closed");
  }
  reader.finish();
  if (!reader.ok()) return std::move(reader).status().with_context("state of WASI");
  return saved;
}

}  // namespace spore::host

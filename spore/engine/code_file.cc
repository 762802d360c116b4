// Saved code, version 1: encode_code_file, decode_code_file.  Byte for byte: docs/formats/code.md.
//
//   | CodeHeader | made_by | payload |
//
// Integers are little-endian.  Nothing behind the header is used before its checksum was compared.
#include "spore/engine/code_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace spore::engine {
namespace {

// Not text (0x89), damaged by any newline conversion: as PNG does.
constexpr std::array<uint8_t, 8> kMagic{0x89, 'S', 'P', 'C', '\r', '\n', 0x1A, '\n'};
constexpr uint32_t kMadeByBytesMax = 4096;

struct CodeHeader {
  std::array<uint8_t, 8> magic;
  uint32_t version;
  uint32_t made_by_bytes;
  uint64_t payload_bytes;
  std::array<uint8_t, 32> module_hash;
  std::array<uint8_t, 32> checksum;  // SHA-256 of all before it and all behind it
};
static_assert(sizeof(CodeHeader) == 88);
static_assert(std::has_unique_object_representations_v<CodeHeader>, "padding would leak memory");
static_assert(std::endian::native == std::endian::little);

std::array<uint8_t, 32> checksum(const CodeHeader& header, std::span<const uint8_t> body) {
  const auto* begin = reinterpret_cast<const uint8_t*>(&header);
  return sha256({std::span(begin, offsetof(CodeHeader, checksum)), body}).bytes;
}

}  // namespace

std::vector<uint8_t> encode_code_file(const CodeFile& file) {
  SPORE_ASSERT(file.made_by.size() <= kMadeByBytesMax, "the description of an engine is too long");
  std::vector<uint8_t> bytes(sizeof(CodeHeader) + file.made_by.size() + file.payload.size());
  const std::span<uint8_t> body = std::span(bytes).subspan(sizeof(CodeHeader));
  std::ranges::copy(file.made_by, body.begin());
  std::ranges::copy(file.payload, body.subspan(file.made_by.size()).begin());
  CodeHeader header{.magic = kMagic,
                    .version = kCodeFileVersion,
                    .made_by_bytes = static_cast<uint32_t>(file.made_by.size()),
                    .payload_bytes = file.payload.size(),
                    .module_hash = file.module_hash.bytes,
                    .checksum = {}};
  header.checksum = checksum(header, body);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

Result<CodeFile> decode_code_file(std::span<const uint8_t> bytes) {
  CodeHeader header{};
  if (bytes.size() < sizeof header) {
    return Status::corruption("saved code: {} bytes, a header has {}", bytes.size(), sizeof header);
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) return Status::corruption("not saved code: wrong magic at offset 0");
  if (header.version > kCodeFileVersion) {
    return Status::unsupported("saved code: format version {}, this build reads up to {}", header.version,
                               kCodeFileVersion);
  }
  const std::span<const uint8_t> body = bytes.subspan(sizeof header);
  if (header.version == 0 || header.made_by_bytes > kMadeByBytesMax || header.made_by_bytes > body.size() ||
      header.payload_bytes != body.size() - header.made_by_bytes) {
    return Status::corruption("saved code: the lengths in its header do not fit its {} bytes", bytes.size());
  }
  if (checksum(header, body) != header.checksum) {
    return Status::corruption("saved code: the checksum does not match, the file is damaged");
  }
  return CodeFile{.module_hash = {header.module_hash},
                  .made_by = std::string(reinterpret_cast<const char*>(body.data()), header.made_by_bytes),
                  .payload = body.subspan(header.made_by_bytes)};
}

}  // namespace spore::engine

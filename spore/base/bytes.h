#pragma once

// Binary formats, little-endian, field by field: for what is small or has no fixed size.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"

namespace spore {

class ByteWriter {
 public:
  ByteWriter& u8(uint8_t value) { return put(value, 1); }
  ByteWriter& u16(uint16_t value) { return put(value, 2); }
  ByteWriter& u32(uint32_t value) { return put(value, 4); }
  ByteWriter& u64(uint64_t value) { return put(value, 8); }
  // Its length as u32, then its bytes.
  ByteWriter& text(std::string_view text);

  std::vector<uint8_t> take() { return std::move(bytes_); }

 private:
  ByteWriter& put(uint64_t value, size_t size);

  std::vector<uint8_t> bytes_;
};

// Reads what a ByteWriter wrote, or an attacker.  After the first failure everything read is 0 or empty, and
// status() says what was wrong and where: check it before anything is used.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  uint8_t u8() { return static_cast<uint8_t>(get(1)); }
  uint16_t u16() { return static_cast<uint16_t>(get(2)); }
  uint32_t u32() { return static_cast<uint32_t>(get(4)); }
  uint64_t u64() { return get(8); }
  // Refuses a length above `bytes_max`.
  std::string text(size_t bytes_max);
  // A u32 that says how many elements follow, each of at least `element_bytes`: at most `max`, and no more
  // than there are bytes for, so that nothing is allocated on the word of a length alone.
  uint32_t count(uint32_t max, size_t element_bytes);
  // What was read last cannot be.
  void fail(std::string_view what);
  // Fails if bytes are left.
  void finish();

  bool ok() const { return status_.ok(); }
  Status status() && { return std::move(status_); }
  size_t offset() const { return offset_; }

 private:
  uint64_t get(size_t size);

  std::span<const uint8_t> bytes_;
  size_t offset_ = 0;
  Status status_;
};

}  // namespace spore

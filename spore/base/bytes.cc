#include "spore/base/bytes.h"

#include <algorithm>

namespace spore {

ByteWriter& ByteWriter::put(uint64_t value, size_t size) {
  for (size_t i = 0; i < size; i++) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
  return *this;
}

ByteWriter& ByteWriter::text(std::string_view text) {
  SPORE_ASSERT(text.size() <= UINT32_MAX, "a text of more than 4 GiB");
  u32(static_cast<uint32_t>(text.size()));
  bytes_.insert(bytes_.end(), text.begin(), text.end());
  return *this;
}

uint64_t ByteReader::get(size_t size) {
  if (!ok()) return 0;
  if (bytes_.size() - offset_ < size) {
    fail("the bytes end too early");
    return 0;
  }
  uint64_t value = 0;
  for (size_t i = 0; i < size; i++) value |= uint64_t{bytes_[offset_ + i]} << (8 * i);
  offset_ += size;
  return value;
}

std::string ByteReader::text(size_t bytes_max) {
  const uint32_t length = u32();
  if (length > bytes_max) fail("a text is too long");
  if (ok() && length > bytes_.size() - offset_) fail("the bytes end within a text");
  if (!ok()) return {};
  std::string text(reinterpret_cast<const char*>(bytes_.data() + offset_), length);
  offset_ += length;
  return text;
}

uint32_t ByteReader::count(uint32_t max, size_t element_bytes) {
  const uint32_t count = u32();
  if (count > max) fail("a count is too large");
  if (ok() && uint64_t{count} * element_bytes > bytes_.size() - offset_) {
    fail("there are fewer bytes than a count says");
  }
  return ok() ? count : 0;
}

void ByteReader::fail(std::string_view what) {
  if (ok()) status_ = Status::corruption("at byte {}: {}", offset_, what);
}

void ByteReader::finish() {
  if (ok() && offset_ < bytes_.size()) fail("bytes are left over");
}

}  // namespace spore

#pragma once

// How sections become a file: compressed, laid out, hashed, written.  Internal to snapshot/.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/snapshot/superblock.h"
#include "spore/snapshot/writer.h"

namespace spore::snapshot {

// The bytes of a section before anything is done to them, wherever they are.  Thread-safe.
class RawSection {
 public:
  virtual ~RawSection() = default;
  virtual uint64_t bytes() const = 0;
  virtual void read(uint64_t offset, std::span<uint8_t> to) const = 0;
  // Ok if all that was read is right.
  virtual Status check() const { return {}; }
};

class BytesSection final : public RawSection {
 public:
  explicit BytesSection(std::vector<uint8_t> bytes) : owned_(std::move(bytes)), bytes_(owned_) {}
  // Of bytes that stay where they are.
  explicit BytesSection(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  BytesSection(const BytesSection&) = delete;
  BytesSection& operator=(const BytesSection&) = delete;

  uint64_t bytes() const override { return bytes_.size(); }
  void read(uint64_t offset, std::span<uint8_t> to) const override;

 private:
  std::vector<uint8_t> owned_;
  std::span<const uint8_t> bytes_;
};

struct NewSection {
  Section section;
  std::unique_ptr<const RawSection> raw;  // of at least a byte
  bool sparse = false;                    // not compressed, and pages of zeros become holes
};

// Writes a file of these sections, which are in order, and HASHES.  `head`: all but id and sections.
// Gives what was written.  What write() says.
Result<Superblock> write_sections(const std::filesystem::path& path, Superblock head,
                                  std::vector<NewSection> sections, const WriteOptions& options);

}  // namespace spore::snapshot

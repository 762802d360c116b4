#pragma once

// Which images this user's processes have proved, or made themselves: to prepare a module of 16 MB again
// takes longer than its first answer.

#include <cstddef>
#include <filesystem>
#include <memory>

#include "spore/base/hash.h"
#include "spore/base/mac.h"

namespace spore::snapshot {

// A file for each image, named by its id, with a MAC of that id by a key that only this user can read:
// whoever else can write there can make none that counts.  The id names every byte of an image, so its hashes
// are still to be compared.  Thread-safe; a proof that cannot be kept is not kept, and none that cannot be
// read counts.
class Proofs {
 public:
  static constexpr size_t kProofsMax = 10'000;  // the oldest goes first

  // Null: there is no key.
  static std::unique_ptr<Proofs> open(std::filesystem::path directory, const std::filesystem::path& key_file);

  bool has(const Digest& image) const;
  void add(const Digest& image) const;

 private:
  Proofs(std::filesystem::path directory, MacKey key)
      : directory_(std::move(directory)), key_(std::move(key)) {}
  std::filesystem::path file_of(const Digest& image) const { return directory_ / image.hex(); }
  MacKey tag_of(const Digest& image) const;
  bool make_room() const;

  std::filesystem::path directory_;
  MacKey key_;
};

}  // namespace spore::snapshot

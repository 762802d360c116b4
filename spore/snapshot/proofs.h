#pragma once

// Which images this user's processes have proved, or made themselves: to prepare a module of 16 MB again
// takes longer than its first answer.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "spore/base/hash.h"
#include "spore/base/mac.h"
#include "spore/snapshot/file_identity.h"

namespace spore::snapshot {

// A file for each image, named by its id, with a MAC of that id by a key that only this user can read:
// whoever else can write there can make none that counts.  The id names every byte of an image, so its hashes
// are still to be compared, unless they were in that very file.  Thread-safe; a proof that cannot be kept is
// not kept, and none that cannot be read counts.
class Proofs {
 public:
  static constexpr size_t kProofsMax = 10'000;  // the oldest goes first

  // Null: there is no key.
  static std::unique_ptr<Proofs> open(std::filesystem::path directory, const std::filesystem::path& key_file);

  bool has(const Digest& image) const;
  void add(const Digest& image) const;

  // The same of all hashes of an image in one file: while it is that file, they need not be compared again.
  bool has(const Digest& image, const FileIdentity& file) const;
  void add(const Digest& image, const FileIdentity& file) const;

 private:
  Proofs(std::filesystem::path directory, MacKey key)
      : directory_(std::move(directory)), key_(std::move(key)) {}
  // What is kept under a name is the MAC of its label.
  struct Proof {
    std::string name;
    std::string label;
  };
  static Proof of(const Digest& image);
  static Proof of(const Digest& image, const FileIdentity& file);
  bool has(const Proof& proof) const;
  void add(const Proof& proof) const;
  MacKey tag_of(const Proof& proof) const;
  bool make_room() const;

  std::filesystem::path directory_;
  MacKey key_;
};

}  // namespace spore::snapshot

#include "spore/snapshot/proofs.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <openssl/crypto.h>

#include "spore/base/fd.h"
#include "spore/code/key_file.h"
#include "spore/wasm/prepare.h"

namespace spore::snapshot {

std::unique_ptr<Proofs> Proofs::open(std::filesystem::path directory, const std::filesystem::path& key_file) {
  Result<MacKey> key = code::open_key_file(key_file);
  if (!key.ok()) return nullptr;
  return std::unique_ptr<Proofs>(new Proofs(std::move(directory), std::move(key).value()));
}

// What was proved was proved by this preparer.
MacKey Proofs::tag_of(const Digest& image) const {
  const std::string label =
      fmt::format("spore proved image 1, preparer {}\n{}", wasm::kPreparerVersion, image.hex());
  return key_.derive({reinterpret_cast<const uint8_t*>(label.data()), label.size()});
}

bool Proofs::has(const Digest& image) const {
  const Result<std::vector<uint8_t>> kept = read_file(file_of(image), MacKey::kBytes);
  if (!kept.ok() || kept.value().size() != MacKey::kBytes) return false;
  const MacKey right = tag_of(image);
  return CRYPTO_memcmp(kept.value().data(), right.bytes().data(), MacKey::kBytes) == 0;
}

void Proofs::add(const Digest& image) const {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  const auto files = std::filesystem::directory_iterator(directory_, error);
  if (error || std::distance(begin(files), end(files)) >= static_cast<std::ptrdiff_t>(kProofsMax)) return;
  Result<NewFile> file = NewFile::create(file_of(image), NewFile::kForOwner);
  if (!file.ok()) return;
  const MacKey tag = tag_of(image);
  if (file.value().write_at(tag.bytes(), 0).ok()) static_cast<void>(file.value().commit());
}

}  // namespace spore::snapshot

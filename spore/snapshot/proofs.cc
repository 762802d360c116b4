#include "spore/snapshot/proofs.h"

#include <string>
#include <system_error>
#include <utility>

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

bool Proofs::make_room() const {
  std::error_code error;
  size_t count = 0;
  std::filesystem::path oldest;
  std::filesystem::file_time_type since;
  for (auto at = std::filesystem::directory_iterator(directory_, error); !error && at != end(at);
       at.increment(error)) {
    std::error_code gone;  // another process is making room
    const auto written = at->last_write_time(gone);
    if (gone) continue;
    if (count++ == 0 || written < since) {
      oldest = at->path();
      since = written;
    }
  }
  if (!error && count >= kProofsMax) std::filesystem::remove(oldest, error);
  return !error;
}

void Proofs::add(const Digest& image) const {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error || !make_room()) return;
  Result<NewFile> file = NewFile::create(file_of(image), NewFile::kForOwner);
  if (!file.ok()) return;
  const MacKey tag = tag_of(image);
  if (file.value().write_at(tag.bytes(), 0).ok()) static_cast<void>(file.value().commit());
}

}  // namespace spore::snapshot

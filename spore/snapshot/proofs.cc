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
Proofs::Proof Proofs::of(const Digest& image) {
  return {.name = image.hex(),
          .label = fmt::format("spore proved image 1, preparer {}\n{}", wasm::kPreparerVersion, image.hex())};
}

// Its name ends as the file's number does, so that copies of one image have a proof each.
Proofs::Proof Proofs::of(const Digest& image, const FileIdentity& file) {
  return {.name = fmt::format("{}-{:x}-{:x}", image.hex(), file.device, file.inode),
          .label = fmt::format("spore verified file 1\n{}\n{} {} {} {} {}", image.hex(), file.device,
                               file.inode, file.bytes, file.modified_ns, file.changed_ns)};
}

MacKey Proofs::tag_of(const Proof& proof) const {
  return key_.derive({reinterpret_cast<const uint8_t*>(proof.label.data()), proof.label.size()});
}

bool Proofs::has(const Digest& image) const { return has(of(image)); }
bool Proofs::has(const Digest& image, const FileIdentity& file) const { return has(of(image, file)); }
void Proofs::add(const Digest& image) const { add(of(image)); }
void Proofs::add(const Digest& image, const FileIdentity& file) const { add(of(image, file)); }

bool Proofs::has(const Proof& proof) const {
  const Result<std::vector<uint8_t>> kept = read_file(directory_ / proof.name, MacKey::kBytes);
  if (!kept.ok() || kept.value().size() != MacKey::kBytes) return false;
  const MacKey right = tag_of(proof);
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

void Proofs::add(const Proof& proof) const {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error || !make_room()) return;
  Result<NewFile> file = NewFile::create(directory_ / proof.name, NewFile::kForOwner);
  if (!file.ok()) return;
  const MacKey tag = tag_of(proof);
  if (file.value().write_at(tag.bytes(), 0).ok()) static_cast<void>(file.value().commit());
}

}  // namespace spore::snapshot

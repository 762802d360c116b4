#include "spore/runtime/cell_home.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/snapshot/states.h"
#include "spore/snapshot/writer.h"

namespace spore::runtime {
namespace {

namespace fs = std::filesystem;
using snapshot::DeltaFile;

constexpr std::string_view kImages = "images";
constexpr std::string_view kEnding = ".spore";
constexpr size_t kFolderBytesMax = 200;  // names of files have at most 255
constexpr int kSequenceDigits = 12;

Status of_error(const std::error_code& error, const fs::path& path) {
  return Status::from_errno(error.value(), fmt::format("'{}'", path.native()));
}

// A name as a folder's: what is not plain is told in hex.
std::string folder_name(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || (c == '.' && !text.empty());
    text += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  if (text.size() <= kFolderBytesMax && text != kImages) return text;
  const auto* bytes = reinterpret_cast<const uint8_t*>(name.data());
  return "%" + sha256({bytes, name.size()}).hex();
}

Status check_name(std::string_view name) {
  if (name.empty() || name.size() > cell::Cells::kNameBytesMax) {
    return Status::invalid_argument("the name of a cell has 1 to {} bytes, not {}",
                                    cell::Cells::kNameBytesMax, name.size());
  }
  if (printable(name, 4 * name.size() + 1) == name) return {};
  return Status::invalid_argument("the name of a cell is text: '{}'", printable(name));
}

fs::path link_file(const fs::path& folder, uint64_t sequence) {
  return folder / fmt::format("{:0{}}{}", sequence, kSequenceDigits, kEnding);
}

// The sequences of the files in a cell's folder, ascending.
Result<std::vector<uint64_t>> sequences_in(const fs::path& folder) {
  std::vector<uint64_t> sequences;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().native();
    uint64_t sequence = 0;
    const auto [rest, failure] = std::from_chars(name.data(), name.data() + name.size(), sequence);
    if (failure == std::errc() && std::string_view(rest) == kEnding) sequences.push_back(sequence);
  }
  if (error) return of_error(error, folder);
  std::ranges::sort(sequences);
  return sequences;
}

uint64_t seconds_now() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
}

}  // namespace

Result<CellHome> CellHome::open(fs::path folder, std::shared_ptr<const snapshot::Proofs> proofs) {
  std::error_code error;
  fs::create_directories(folder / kImages, error);
  if (error) return of_error(error, folder / kImages);
  return CellHome(std::move(folder), std::move(proofs));
}

Result<fs::path> CellHome::folder_of(std::string_view name) const {
  SPORE_TRY(check_name(name));
  return folder_ / folder_name(name);
}

fs::path CellHome::image_file(const Digest& id) const {
  return folder_ / kImages / (id.hex() + std::string(kEnding));
}

Result<Digest> CellHome::keep_image(const snapshot::Contents& contents) const {
  snapshot::Contents whole = contents;
  whole.base.reset();
  whole.manifest.base_file.reset();
  // Written first, and then named by its id.
  const fs::path made = folder_ / kImages / fmt::format("new-{}{}", ::getpid(), kEnding);
  const Digest id = SPORE_TRY(snapshot::write(whole, made, snapshot::WriteOptions::local()));
  // Here it has the name of the file that it came from, so that deltas of cells fit that one, too.
  const Digest name = contents.id == Digest{} ? id : contents.id;
  std::error_code error;
  fs::rename(made, image_file(name), error);
  if (error) return of_error(error, made);
  // It is as proved as what it was made of.
  if (proofs_ != nullptr && contents.proved) proofs_->add(id);
  return name;
}

Result<snapshot::Contents> CellHome::image(const Digest& id) const {
  snapshot::ReadOptions options;
  if (proofs_ != nullptr) {
    options.proved = [&](const Digest& image) { return proofs_->has(image); };
    options.verified = [&](const Digest& image, const snapshot::FileIdentity& file) {
      return proofs_->has(image, file);
    };
  }
  snapshot::Contents contents = SPORE_TRY(snapshot::read(image_file(id), options));
  if (proofs_ != nullptr && contents.proved) {
    if (!proofs_->has(contents.id)) proofs_->add(contents.id);
    if (contents.file && contents.file->is_settled()) proofs_->add(contents.id, *contents.file);
  }
  contents.id = id;
  return contents;
}

Result<StoredCell> CellHome::read(std::string_view name) const {
  // Whoever folds the chain meanwhile removes what was just listed.
  constexpr int kTries = 3;
  for (int tries = 1;; tries++) {
    Result<StoredCell> stored = read_once(name);
    if (stored.code() != Code::kNotFound || tries == kTries) return stored;
  }
}

Result<StoredCell> CellHome::read_once(std::string_view name) const {
  const fs::path folder = SPORE_TRY(folder_of(name));
  std::error_code error;
  if (!fs::is_directory(folder, error)) return Status::not_found("no cell '{}'", printable(name));
  StoredCell stored;
  // From the newest back to the one that follows the image.
  const std::vector<uint64_t> sequences = SPORE_TRY(sequences_in(folder));
  for (auto at = sequences.rbegin(); at != sequences.rend(); ++at) {
    DeltaFile link = SPORE_TRY(snapshot::read_delta(link_file(folder, *at)));
    const bool is_first = link.parent == link.base;
    stored.links.insert(stored.links.begin(), std::move(link));
    if (is_first || stored.links.size() > snapshot::kChainLinksMax) break;
  }
  if (stored.links.empty()) return Status::not_found("no cell '{}'", printable(name));
  const DeltaFile& first = stored.links.front();
  const Status chain = snapshot::check_chain(first.base, stored.links);
  if (!chain.ok()) return chain.copy().with_context(fmt::format("the cell '{}'", printable(name)));
  if (first.cell != name) {
    return Status::corruption("'{}' is of the cell '{}'", folder.native(), printable(first.cell));
  }
  for (const DeltaFile& link : stored.links) {
    Result<cell::Delta> delta = cell::decode_delta(link.delta);
    if (!delta.ok()) {
      return std::move(delta).status().with_context(link_file(folder, link.sequence).native());
    }
    stored.delta = SPORE_TRY(cell::fold(std::move(stored.delta), delta.value()));
    const uint64_t bytes = fs::file_size(link_file(folder, link.sequence), error);
    if (!error) stored.file_bytes += bytes;
  }
  stored.name = std::string(name);
  stored.domain = first.domain;
  stored.image = first.base;
  stored.sequence = stored.links.back().sequence;
  return stored;
}

Result<std::vector<std::string>> CellHome::list() const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
    if (!at->is_directory(error) || at->path().filename() == kImages) continue;
    const Result<std::vector<uint64_t>> sequences = sequences_in(at->path());
    if (!sequences.ok() || sequences->empty()) continue;
    // The folder's name is not the cell's where that is long.
    const Result<DeltaFile> link = snapshot::read_delta(link_file(at->path(), sequences->back()));
    names.push_back(link.ok() ? link->cell : at->path().filename().native());
    if (names.size() >= kCellsMax) break;
  }
  if (error) return of_error(error, folder_);
  std::ranges::sort(names);
  return names;
}

namespace {

// The right to change a cell.  flock() has no timeout, so we ask again and again.
Result<UniqueFd> lock_cell(const fs::path& folder, std::string_view name, uint64_t wait_ms) {
  constexpr uint64_t kAskMs = 5;
  const fs::path path = folder / "lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) {
    if (errno == ENOENT) return Status::not_found("no cell '{}'", printable(name));
    return Status::from_errno(errno, fmt::format("'{}'", path.native()));
  }
  for (uint64_t waited = 0;; waited += kAskMs) {
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) break;
    if (errno != EWOULDBLOCK && errno != EINTR) return Status::from_errno(errno, "flock");
    if (waited >= wait_ms) {
      return Status::unavailable("the cell '{}' is in use by another process", printable(name));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kAskMs));
  }
  // Whoever removed the cell meanwhile removed this file, too.
  struct stat ours{};
  struct stat there{};
  if (::fstat(fd.get(), &ours) != 0 || ::stat(path.c_str(), &there) != 0 || ours.st_ino != there.st_ino) {
    return Status::not_found("no cell '{}'", printable(name));
  }
  return fd;
}

}  // namespace

Status CellHome::create(std::string_view name, const Digest& image, const cell::Delta& delta) const {
  const fs::path folder = SPORE_TRY(folder_of(name));
  const snapshot::Contents contents = SPORE_TRY(this->image(image));
  std::error_code error;
  fs::create_directory(folder, error);
  if (error) return of_error(error, folder);
  const UniqueFd lock = SPORE_TRY(lock_cell(folder, name, 0));
  // A folder without links is what a crash left of one that was being made, or removed.
  if (!SPORE_TRY(sequences_in(folder)).empty()) {
    return Status::already_exists("there is a cell '{}' already", printable(name));
  }
  uint64_t memory_bytes = 0;
  for (const auto& memory : contents.image.memories) memory_bytes += memory->bytes();
  const Result<DeltaFile> written = snapshot::write_delta({.cell = std::string(name),
                                                           .domain = contents.manifest.domain,
                                                           .sequence = 1,
                                                           .base_sequence = 0,
                                                           .parent = image,
                                                           .base = image,
                                                           .module = contents.manifest.module,
                                                           .memory_bytes = memory_bytes,
                                                           .created_s = seconds_now(),
                                                           .dirty_pages = cell::pages_in(delta),
                                                           .delta = cell::encode_delta(delta)},
                                                          link_file(folder, 1));
  return written.status().copy();
}

Status CellHome::remove(std::string_view name) const {
  const fs::path folder = SPORE_TRY(folder_of(name));
  const UniqueFd lock = SPORE_TRY(lock_cell(folder, name, 0));
  // Links first, the newest last, and the lock after them: what a crash leaves is a cell, or none.
  const std::vector<uint64_t> sequences = SPORE_TRY(sequences_in(folder));
  for (const uint64_t sequence : sequences) {
    if (::unlink(link_file(folder, sequence).c_str()) != 0) {
      return Status::from_errno(errno, fmt::format("'{}'", link_file(folder, sequence).native()));
    }
  }
  std::error_code error;
  fs::remove_all(folder, error);
  return error ? of_error(error, folder) : Status();
}

Result<OpenCell> CellHome::take(Runtime& runtime, std::string_view name, uint64_t wait_ms) const {
  OpenCell taken;
  taken.folder_ = SPORE_TRY(folder_of(name));
  taken.lock_ = SPORE_TRY(lock_cell(taken.folder_, name, wait_ms));
  taken.stored_ = SPORE_TRY(read(name));
  Result<snapshot::Contents> image = this->image(taken.stored_.image);
  if (!image.ok()) {
    return std::move(image).status().with_context(fmt::format("the image of the cell '{}'", printable(name)));
  }
  taken.image_ = std::make_shared<const snapshot::Contents>(std::move(image).value());
  const snapshot::Contents& contents = *taken.image_;
  // One module for all cells of an image.
  const std::string module_name = "image:" + taken.stored_.image.hex();
  Result<std::shared_ptr<const Module>> loaded = runtime.module(module_name);
  taken.module_ =
      loaded.ok() ? std::move(loaded).value() : SPORE_TRY(runtime.load_image(module_name, contents));
  taken.cells_ = runtime.cells();
  if (contents.manifest.framing != snapshot::Framing::kNone) {
    taken.program_ = SPORE_TRY(runtime.restore(*taken.module_, contents));
    taken.kind_ = SPORE_TRY(taken.program_->cell_kind(*taken.cells_));
  } else {
    taken.library_ = SPORE_TRY(runtime.restore_library(*taken.module_, contents));
    taken.kind_ = SPORE_TRY(taken.cells_->kind(taken.library_->pool_entry()));
  }
  const std::vector<uint8_t> delta = cell::encode_delta(taken.stored_.delta);
  SPORE_TRY(taken.cells_->create(taken.kind_, name, {.delta = delta, .sequence = taken.stored_.sequence}));
  taken.backup_ = SPORE_TRY(snapshot::Incremental::start(taken.cells_, taken.id(),
                                                         {.image = taken.stored_.image,
                                                          .module = taken.stored_.links.front().module,
                                                          .links = taken.stored_.links,
                                                          .state = taken.stored_.delta,
                                                          .commits = taken.stored_.sequence}));
  return taken;
}

OpenCell::~OpenCell() {
  if (cells_ != nullptr && kind_ != nullptr) static_cast<void>(cells_->remove(id()).ok());
}

Result<std::vector<host::Value>> OpenCell::call(std::string_view function,
                                                std::span<const host::Value> args) {
  return cells_->call(id(), function, args);
}

Result<program::Answer> OpenCell::request(std::string_view text, const program::RequestOptions& options) {
  return program_->request_in(*cells_, id(), text, options);
}

Status OpenCell::save(Fold fold) {
  std::optional<DeltaFile> link = SPORE_TRY(backup_->create(fold == Fold::kNow));
  if (!link) return {};
  const std::vector<DeltaFile> before = backup_->links();
  const uint64_t sequence = link->sequence;
  const bool anew = link->parent == link->base;
  backup_->stored(SPORE_TRY(snapshot::write_delta(std::move(*link), link_file(folder_, sequence))));
  if (!anew) return {};
  // The new file is the chain; whatever of the old ones stays is passed by.
  for (const DeltaFile& old : before) ::unlink(link_file(folder_, old.sequence).c_str());
  return {};
}

Result<snapshot::Contents> OpenCell::contents() const {
  const cell::CellState state = SPORE_TRY(cells_->state(id()));
  cell::Delta delta;
  if (!state.delta.empty()) delta = SPORE_TRY(cell::decode_delta(state.delta));
  snapshot::Contents made = SPORE_TRY(snapshot::apply(*image_, delta));
  made.manifest.created_s = seconds_now();
  return made;
}

}  // namespace spore::runtime

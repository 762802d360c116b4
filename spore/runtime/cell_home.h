#pragma once

// Cells that are kept as files: what `spore cell` works on.
//
//   FOLDER/images/ID.spore           images, each once; cells stand on them
//   FOLDER/NAME/SEQUENCE.spore       of a cell: a delta on its image, and those that follow it
//   FOLDER/NAME/lock                 of whoever has the cell
//
// The newest delta that follows the image begins the chain; what is older is left of a chain that was folded.
// A file takes its place whole or not at all, and a chain is folded into a new file before the old ones go:
// so whatever a crash leaves is the last state that was told to be saved.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/cell/cells.h"
#include "spore/cell/delta.h"
#include "spore/program/library.h"
#include "spore/program/program.h"
#include "spore/runtime/runtime.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/delta_file.h"
#include "spore/snapshot/incremental.h"
#include "spore/snapshot/proofs.h"
#include "spore/snapshot/reader.h"

namespace spore::runtime {

// What the files say of a cell.
struct StoredCell {
  std::string name;
  std::string domain;
  Digest image;
  uint64_t sequence = 0;                   // of the last link
  std::vector<snapshot::DeltaFile> links;  // in order; at least one
  cell::Delta delta;                       // all of them folded: how it differs from its image
  uint64_t file_bytes = 0;                 // of the links
};

class OpenCell;

// Thread-safe; processes may share a folder.
class CellHome {
 public:
  static constexpr size_t kCellsMax = 100'000;

  // The folder is made if it is not there.  `proofs` null: images are proved each time.  kIo.
  static Result<CellHome> open(std::filesystem::path folder, std::shared_ptr<const snapshot::Proofs> proofs);

  // Keeps an image in a form that can be started from, and gives its name here: that of the file that it
  // came from, though its bytes are others.  Of a derived image all of it is kept.  What snapshot::write()
  // says.
  Result<Digest> keep_image(const snapshot::Contents& contents) const;
  // kNotFound; what snapshot::read() says.
  Result<snapshot::Contents> image(const Digest& id) const;

  // A cell that stands on a kept image: as it is, or with a delta.  kAlreadyExists; kInvalidArgument: a bad
  // name; what snapshot::write_delta() says.
  Status create(std::string_view name, const Digest& image, const cell::Delta& delta = {}) const;
  // kNotFound; kCorruption and what else read_delta(), check_chain() and cell::decode_delta() say.
  Result<StoredCell> read(std::string_view name) const;
  // In order.  Cells that cannot be read are there, too.
  Result<std::vector<std::string>> list() const;
  // kNotFound; kUnavailable: somebody has it.
  Status remove(std::string_view name) const;

  // Takes a cell and loads it into a Runtime, asleep.  kUnavailable: another process, or thread, has it for
  // longer than `wait_ms`; what read(), image(), Runtime::load_image() and restore() say.
  Result<OpenCell> take(Runtime& runtime, std::string_view name, uint64_t wait_ms = 10'000) const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  friend class OpenCell;
  CellHome(std::filesystem::path folder, std::shared_ptr<const snapshot::Proofs> proofs)
      : folder_(std::move(folder)), proofs_(std::move(proofs)) {}
  Result<std::filesystem::path> folder_of(std::string_view name) const;
  std::filesystem::path image_file(const Digest& id) const;
  Result<StoredCell> read_once(std::string_view name) const;

  std::filesystem::path folder_;
  std::shared_ptr<const snapshot::Proofs> proofs_;
};

// One cell of a home in a Runtime: nobody else has it as long as this lives.  Move-only.
class OpenCell {
 public:
  OpenCell(OpenCell&&) = default;
  ~OpenCell();

  // As it was when it was taken.
  const StoredCell& stored() const { return stored_; }
  const snapshot::Contents& image() const { return *image_; }
  const Module& module() const { return *module_; }
  // It answers requests; else its exports are called.
  bool answers() const { return program_ != nullptr; }
  // What Cells::call() says.
  Result<std::vector<host::Value>> call(std::string_view function, std::span<const host::Value> args);
  Result<program::Answer> request(std::string_view text, const program::RequestOptions& options = {});
  cell::Cells& cells() { return *cells_; }
  cell::CellId id() const { return {stored_.name, stored_.domain}; }

  // Writes what was done since it was taken, or saved, as another link; folds the chain where it is long, or
  // was told to.  Without a change nothing is written.  What snapshot::write_delta() says.
  enum class Fold : uint8_t { kIfLong, kNow };
  Status save(Fold fold = Fold::kIfLong);
  // As it is now, whole: its image with its delta, for a file of its own.  kIo: no memory left.
  Result<snapshot::Contents> contents() const;

 private:
  friend class CellHome;
  OpenCell() = default;

  std::filesystem::path folder_;
  UniqueFd lock_;
  StoredCell stored_;
  std::shared_ptr<const snapshot::Contents> image_;
  std::shared_ptr<const Module> module_;
  std::shared_ptr<const program::Program> program_;
  std::shared_ptr<const program::Library> library_;
  std::shared_ptr<cell::Cells> cells_;
  std::shared_ptr<cell::CellKind> kind_;
  std::optional<snapshot::Incremental> backup_;
};

}  // namespace spore::runtime

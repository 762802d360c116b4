#pragma once

// Backups of a cell that serves on: each is a link with what was committed since the one before.
//
//   auto backup = SPORE_TRY(Incremental::start(cells, "alice", {.image = image_id, .module = module_hash}));
//   for (;;) {
//     std::optional<DeltaFile> link = SPORE_TRY(backup.create());
//     if (link) backup.stored(SPORE_TRY(write_delta(std::move(*link), path)));  // else nothing changed
//   }

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/cell/cells.h"
#include "spore/cell/delta.h"
#include "spore/snapshot/delta_file.h"

namespace spore::snapshot {

// Bound to one thread at a time.  The cell does not wait for it, but for commits of Commit::kOnSleep, which
// are made for it.
class Incremental {
 public:
  struct Chain {
    Digest image;   // the file that the cell's image is in
    Digest module;  // that was prepared
    // What was stored before: the links, and what they fold to.  None: the first link says how the cell
    // differs from its image.
    std::vector<DeltaFile> links{};
    cell::Delta state{};
    // Commits of the cell until then, as CellState::sequence counts them; nothing: all may be new.
    std::optional<uint64_t> commits{};
  };
  static Result<Incremental> start(std::shared_ptr<cell::Cells> cells, const cell::CellId& cell, Chain chain);

  // What was committed since the last one that was stored.  Nothing: nothing was, or all is as it was then.
  // `anew`: on the image, as the first link of a new chain, which a chain of kChainLinksMax links becomes by
  // itself.  What Cells::state() says.
  Result<std::optional<DeltaFile>> create(bool anew = false);
  // The link that create() gave last is kept somewhere: the next goes on from it.  `written`: as
  // write_delta() gave it.  Until this is called, nothing is forgotten.
  void stored(const DeltaFile& written);

  // The chain as far as it was stored, without the links' bytes where it was folded.
  const std::vector<DeltaFile>& links() const { return chain_.links; }

 private:
  Incremental() = default;

  std::shared_ptr<cell::Cells> cells_;
  std::string name_;
  std::string domain_;
  Chain chain_;
  // Of the link that was created last.
  cell::Delta made_state_;
  uint64_t made_commits_ = 0;
  bool made_anew_ = false;
};

}  // namespace spore::snapshot

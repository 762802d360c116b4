#include "spore/snapshot/incremental.h"

#include <chrono>
#include <utility>

namespace spore::snapshot {
namespace {

uint64_t seconds_now() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
}

uint64_t memory_bytes(const cell::Image& image, const cell::Delta& state) {
  uint64_t bytes = 0;
  const auto& memories = image.memories().images;
  for (size_t i = 0; i < memories.size(); i++) {
    const bool told = i < state.memories.size() && state.memories[i].bytes.has_value();
    bytes += told ? *state.memories[i].bytes : memories[i]->bytes();
  }
  return bytes;
}

bool is_empty(const cell::Delta& delta) { return cell::encode_delta(delta) == cell::encode_delta({}); }

}  // namespace

Result<Incremental> Incremental::start(std::shared_ptr<cell::Cells> cells, const cell::CellId& cell,
                                       Chain chain) {
  SPORE_TRY(cells->describe(cell));
  Incremental made;
  made.cells_ = std::move(cells);
  made.name_ = std::string(cell.name);
  made.domain_ = std::string(cell.domain);
  made.chain_ = std::move(chain);
  return made;
}

Result<std::optional<DeltaFile>> Incremental::create(bool anew) {
  const cell::CellState state = SPORE_TRY(cells_->state({name_, domain_}));
  const bool committed = !chain_.commits || state.sequence != *chain_.commits;
  if (!committed && (!anew || chain_.links.size() == 1)) return std::optional<DeltaFile>();
  made_state_ = {};
  if (!state.delta.empty()) made_state_ = SPORE_TRY(cell::decode_delta(state.delta));
  made_commits_ = state.sequence;
  const cell::Image& image = *state.kind->image();
  made_anew_ = anew || chain_.links.empty() || chain_.links.size() >= kChainLinksMax;
  const cell::Delta link = made_anew_ ? made_state_ : cell::difference(chain_.state, made_state_, image);
  if (!made_anew_ && is_empty(link)) {
    chain_.commits = state.sequence;  // it was called, and is as it was
    return std::optional<DeltaFile>();
  }
  const uint64_t sequence = chain_.links.empty() ? 1 : chain_.links.back().sequence + 1;
  return std::optional<DeltaFile>(
      DeltaFile{.cell = name_,
                .domain = domain_,
                .sequence = sequence,
                .base_sequence = made_anew_ ? sequence - 1 : chain_.links.front().base_sequence,
                .parent = made_anew_ ? chain_.image : chain_.links.back().id,
                .base = chain_.image,
                .module = chain_.module,
                .memory_bytes = memory_bytes(image, made_state_),
                .created_s = seconds_now(),
                .dirty_pages = cell::pages_in(link),
                .delta = cell::encode_delta(link)});
}

void Incremental::stored(const DeltaFile& written) {
  if (made_anew_) chain_.links.clear();
  chain_.links.push_back(written);
  chain_.state = std::move(made_state_);
  chain_.commits = made_commits_;
}

}  // namespace spore::snapshot

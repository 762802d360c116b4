#pragma once

// One instance that is used, made as new, and used again.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "spore/base/counter.h"
#include "spore/base/status.h"
#include "spore/cell/blueprint.h"
#include "spore/cell/image.h"
#include "spore/engine/instance_state.h"
#include "spore/host/instance.h"

namespace spore::cell {

// Bound to one thread at a time; moves between threads under its owner's lock.
class CleanInstance {
 public:
  // From an image, or, if it is null, as the blueprint has it: then every reset makes a new instance.
  static Result<std::unique_ptr<CleanInstance>> create(std::shared_ptr<const Blueprint> blueprint,
                                                       std::shared_ptr<const Image> image);

  host::Instance& instance() { return *instance_; }
  const host::Instance& instance() const { return *instance_; }

  // Before the first call of one use.
  void begin(void* user_data) {
    if (step_ != steps_->load(std::memory_order_relaxed)) [[unlikely]]
      follow();
    if (state_) {
      for (memory::Slot* slot : state_->slots()) slot->begin();
    }
    instance_->store().hand_out(user_data);
  }

  enum class Outcome : uint8_t {
    kInPlace,         // all state was put back
    kReinstantiated,  // it is another instance now: what was found out about the old one is void
  };
  // After the last one: it is as new.  How making a new one failed, or what Slot::reset says: then it is to
  // be thrown away.
  Result<Outcome> reset();

  // For cells: what it holds, beside memory by how it differs from its image.  Only of one with an image.
  const engine::InstanceState& state() const { return *state_; }
  const Image& image() const { return *image_; }

  // Off the path of calls: what memory can be given back is.
  void trim();
  bool can_trim() const { return counters_.quiet_pages.value() > 0; }

  // What became of it.  Readable by all threads.
  struct Counters {
    Counter resets_in_place;
    Counter resets_anew;
    Counter scans;           // of memories, for pages that were written
    Counter pages_refilled;  // in all
    Counter bytes;           // of memory that is its own, now
    Counter quiet_pages;     // that trim() would give back
  };
  const Counters& counters() const { return counters_; }

 private:
  CleanInstance() = default;
  Status make();
  Status hold_state();
  void follow();
  void count();

  std::shared_ptr<const Blueprint> blueprint_;
  std::shared_ptr<const Image> image_;
  const std::atomic<uint32_t>* steps_ = nullptr;  // of the blueprint's code
  uint32_t step_ = 0;                             // when it was last looked at
  std::optional<host::Instance> instance_;
  std::optional<engine::InstanceState> state_;  // with an image; goes before the instance
  bool make_anew_ = false;                      // its code was replaced by such that it cannot go over to
  uint64_t fuel_ = 0;                           // what a new instance has left
  Counters counters_;
  uint64_t scans_before_ = 0;  // of instances that this one was before
  uint64_t pages_before_ = 0;
};

}  // namespace spore::cell

#include "spore/host/suspension.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "spore/host/instance.h"

namespace spore::host {

using engine::GuestMemory;
using engine::GuestPtr;

namespace {

// What is kept aside while the stack unwinds for the first time: frames of 300 functions take some 10 KiB.
constexpr uint64_t kFramesBytesMax = uint64_t{1} << 20;
constexpr uint64_t kDeeperBytes = 4096;
constexpr uint64_t kAlignment = 16;

// The state that asyncify's code looks at.
enum AsyncifyState : int32_t { kNormal = 0, kUnwind = 1, kRewind = 2 };

// Where asyncify's code finds its frames, and where it may not go on.
struct FramesHeader {
  uint32_t current;
  uint32_t end;
};

FramesHeader read_header(std::span<const std::byte> bytes) {
  FramesHeader header{};
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}
void write_header(std::span<std::byte> bytes, const FramesHeader& header) {
  std::memcpy(bytes.data(), &header, sizeof header);
}

Result<std::span<std::byte>> rest_of(GuestMemory memory, uint64_t address) {
  return memory.span(GuestPtr{address}, memory.size() - std::min<uint64_t>(address, memory.size()));
}

}  // namespace

Result<Suspension> Suspension::at_first_wait(const wasm::PreparedModule& prepared, StackFunctions functions) {
  return Suspension(SPORE_TRY(names(prepared, std::move(functions))));
}

Result<Suspended> Suspension::names(const wasm::PreparedModule& prepared, StackFunctions functions) {
  if (!prepared.asyncify.has_value()) {
    return Status::unsupported(
        "this module was not rewritten by asyncify, or by a version of it that is not known here");
  }
  const bool one_memory = prepared.memories.size() == 1 && !prepared.memories.front().is_64 &&
                          std::ranges::any_of(prepared.facts.exports, [](const auto& exported) {
                            return exported.name == "memory" && exported.type.starts_with("memory");
                          });
  if (!one_memory) {
    return Status::unsupported(
        "a program that can be frozen has one memory of its own, exported as 'memory'");
  }
  Suspended names;
  names.functions = std::move(functions);
  names.state_global = wasm::PreparedModule::Global{.index = prepared.asyncify->state_global}.export_name();
  names.data_global = wasm::PreparedModule::Global{.index = prepared.asyncify->data_global}.export_name();
  return names;
}

Status Suspension::wait(engine::Caller& caller) {
  if (caller.store().nesting() != 1) {
    return Status::unsupported(
        "the program waits for input inside of a call from a host function, whose own frames cannot be "
        "saved: "
        "it may read its standard input only where nothing but the guest is between _start and the read");
  }
  const bool watched = !freezes_ && from_ == nullptr;
  if (freezes_ || watched) SPORE_TRY(look_at_stack(caller));
  if (watched) {
    phase_ = Phase::kWatched;
    return Status::cancelled("the program waits for input, and was watched until then");
  }
  if (freezes_) SPORE_TRY(borrow(caller));
  const Suspended& names = freezes_ ? made_ : *from_;
  const GuestMemory memory = caller.memory_of_this_thread();
  const std::span<std::byte> place = SPORE_TRY(rest_of(memory, names.frames_at));
  if (place.size() < sizeof(FramesHeader) + kAlignment)
    return Status::unsupported("the program has no memory");
  // In 32 bits the end of a memory of 4 GiB is 0: one alignment less.
  const auto end = static_cast<uint32_t>(names.frames_at + place.size() - kAlignment);
  write_header(place, {.current = static_cast<uint32_t>(names.frames_at + sizeof(FramesHeader)), .end = end});
  engine::Store& store = caller.store();
  SPORE_TRY(store.set_global({}, names.data_global, static_cast<int32_t>(names.frames_at)));
  SPORE_TRY(store.set_global({}, names.state_global, kUnwind));
  phase_ = freezes_ ? Phase::kUnwinding : Phase::kWaiting;
  if (!freezes_ && names.functions != nullptr) store.let_return();
  return {};
}

Status Suspension::look_at_stack(engine::Caller& caller) {
  if (freezes_ && made_.functions == nullptr) return {};
  Result<std::vector<uint32_t>> found = caller.stack_functions();
  stack_unknown_ = found.code() == Code::kLimitExceeded;
  if (stack_unknown_ && !freezes_) return {};
  std::vector<uint32_t> stack = SPORE_TRY(std::move(found));
  std::ranges::sort(stack);
  const auto [last, end] = std::ranges::unique(stack);
  stack.erase(last, end);
  const bool all = !freezes_ || std::ranges::includes(*made_.functions, stack);
  stack_ = std::move(stack);
  if (all) return {};
  return Status::unsupported(
      "the program waits for input in functions that were not rewritten for that: it waited elsewhere when "
      "it "
      "was watched (freeze it, or what it stands on, with --rewrite all)");
}

Status Suspension::borrow(engine::Caller& caller) {
  const GuestMemory memory = caller.memory_of_this_thread();
  const uint64_t address = memory.size() - std::min<uint64_t>(memory.size(), kFramesBytesMax);
  const std::span<const std::byte> place = SPORE_TRY(rest_of(memory, address));
  memory::Slot* slot = caller.store().slot_at(place.data() - address);
  if (slot == nullptr) return Status::internal("a memory without a slot");
  std::vector<memory::PageRun> written;
  slot->written(written);
  slot->touched();  // a host function is running: it may still have the kernel write somewhere
  borrowed_ = {.slot = slot, .bytes = place.size()};
  for (const memory::PageRun& run : written) {
    const size_t begin = std::max<size_t>(run.offset, address);
    const size_t end = run.offset + run.bytes;
    if (begin >= end) continue;
    borrowed_.pages.push_back({begin, end - begin});
    const auto bytes = place.subspan(begin - address, end - begin);
    borrowed_.kept.insert(borrowed_.kept.end(), bytes.begin(), bytes.end());
  }
  made_.frames_at = static_cast<uint32_t>(address);
  return {};
}

// What was in the pages from the beginning of the place to `end`.
void Suspension::put_back(std::span<std::byte> memory, uint64_t end) const {
  const memory::PageImage* image = borrowed_.slot->image();
  auto run = borrowed_.pages.begin();
  size_t kept = 0;
  for (uint64_t offset = made_.frames_at; offset < end; offset += memory::kPageBytes) {
    while (run != borrowed_.pages.end() && run->offset + run->bytes <= offset) {
      kept += run->bytes;
      ++run;
    }
    std::byte* to = memory.data() + offset;
    if (run != borrowed_.pages.end() && run->offset <= offset) {
      std::memcpy(to, &borrowed_.kept[kept + offset - run->offset], memory::kPageBytes);
    } else if (const std::byte* from = image == nullptr ? nullptr : image->page(offset); from != nullptr) {
      std::memcpy(to, from, memory::kPageBytes);
    } else {
      std::memset(to, 0, memory::kPageBytes);
    }
  }
}

// Moves the frames, which mean the same anywhere, near the end: of the pages that each run writes to, they
// take as few as can be.  Behind them is some room: the next wait may be deeper in the program.
Result<Suspended> Suspension::freeze(Instance& instance) const {
  SPORE_ASSERT(phase_ == Phase::kUnwinding, "a program is frozen where it waits");
  engine::Store& store = instance.store();
  GuestMemory memory = store.memory(instance.handle());
  std::span<std::byte> place = SPORE_TRY(memory.span(GuestPtr{made_.frames_at}, borrowed_.bytes));
  const FramesHeader header = read_header(place);
  const uint64_t first = uint64_t{made_.frames_at} + sizeof(FramesHeader);
  if (header.current < first || header.current > header.end) {
    return Status::limit_exceeded("the program's stack takes more than {} bytes to save", borrowed_.bytes);
  }
  const std::span<std::byte> saved = place.subspan(sizeof header, header.current - first);
  const std::vector<std::byte> frames(saved.begin(), saved.end());
  put_back(SPORE_TRY(memory.span(GuestPtr{0}, memory.size())), header.current);

  Suspended suspended{
      .functions = made_.functions, .state_global = made_.state_global, .data_global = made_.data_global};
  const uint64_t needed = sizeof header + frames.size();
  const uint64_t room = std::min<uint64_t>(needed + kDeeperBytes + kAlignment, memory.size());
  suspended.frames_at = static_cast<uint32_t>((memory.size() - room) / kAlignment * kAlignment);
  place = SPORE_TRY(memory.span(GuestPtr{suspended.frames_at}, needed));
  suspended.lent.assign(place.begin(), place.end());
  const auto current = static_cast<uint32_t>(suspended.frames_at + sizeof header + frames.size());
  write_header(place, {.current = current, .end = current});
  std::ranges::copy(frames, place.begin() + sizeof header);
  SPORE_TRY(
      store.set_global(instance.handle(), suspended.data_global, static_cast<int32_t>(suspended.frames_at)));
  SPORE_TRY(store.set_global(instance.handle(), suspended.state_global, kRewind));
  return suspended;
}

Status Suspension::resume(engine::Caller& caller, bool waits) {
  if (phase_ != Phase::kRewinding || !waits) {
    return Status::internal("a host function was called while the program's stack was {}",
                            phase_ == Phase::kRewinding ? "taken back" : "saved");
  }
  const GuestMemory memory = caller.memory_of_this_thread();
  const std::span<std::byte> place = SPORE_TRY(memory.span(GuestPtr{from_->frames_at}, from_->lent.size()));
  if (read_header(place).current != from_->frames_at + sizeof(FramesHeader)) {
    return Status::internal("the program's stack was not taken back as it was saved");
  }
  std::ranges::copy(from_->lent, place.begin());
  SPORE_TRY(caller.store().set_global({}, from_->state_global, kNormal));
  phase_ = Phase::kRunning;
  return {};
}

}  // namespace spore::host

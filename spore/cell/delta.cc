#include "spore/cell/delta.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "spore/base/break_cell.h"
#include "spore/cell/clean_instance.h"
#include "spore/memory/page_image.h"

namespace spore::cell {
namespace {

using engine::StateValues;
using engine::ValType;
using memory::kPageBytes;
using Changes = engine::InstanceState::Changes;
using Kind = Delta::Part::Kind;

constexpr uint8_t kVersion = 1;
constexpr uint8_t kLengths = 1;
constexpr uint8_t kGlobals = 2;
constexpr uint8_t kTables = 4;
constexpr uint8_t kWasi = 8;
constexpr uint8_t kCaller = 16;
constexpr uint8_t kWasiOfImage = 32;
constexpr uint8_t kCallerOfImage = 64;
constexpr uint8_t kPartsKnown = 127;
constexpr uint64_t kMemoriesMax = 100;
// Fewer unchanged bytes than that between two runs do not pay for another one.
constexpr uint64_t kGapBytesMin = 4;

alignas(64) constexpr std::array<std::byte, kPageBytes> kZeros{};

// --- writing -------------------------------------------------------------------------------------------

void put_varint(std::vector<uint8_t>& into, uint64_t value) {
  while (value >= 0x80) {
    into.push_back(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  into.push_back(static_cast<uint8_t>(value));
}

void put_bytes(std::vector<uint8_t>& into, std::span<const uint8_t> bytes) {
  put_varint(into, bytes.size());
  into.insert(into.end(), bytes.begin(), bytes.end());
}

// The runs of one memory, as they are found: pieces that nearly touch become one.
class RunWriter {
 public:
  // `base`: what the offsets count from.
  RunWriter(std::vector<uint8_t>& into, const std::byte* base) : into_(into), base_(base) {}

  void add(uint64_t begin, uint64_t end) {
    if (end_ > begin_ && begin - end_ < kGapBytesMin) {
      end_ = end;
      return;
    }
    flush();
    begin_ = begin;
    end_ = end;
  }
  void finish() {
    if constexpr (kBreakCell != BreakCell::kRun) flush();
    put_varint(into_, 0);
  }

 private:
  void flush() {
    if (end_ == begin_) return;
    put_varint(into_, end_ - begin_);
    put_varint(into_, begin_ - done_);
    const auto* bytes = reinterpret_cast<const uint8_t*>(base_);
    into_.insert(into_.end(), bytes + begin_, bytes + end_);
    done_ = begin_ = end_;
  }

  std::vector<uint8_t>& into_;
  const std::byte* base_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  uint64_t done_ = 0;  // where the last run that was written ended
};

// Tells `add(begin, end)` where two pages differ, of `bytes` from `offset` on; `was` null: zeros.
template <typename Add>
void compare(const std::byte* now, const std::byte* was, uint64_t offset, size_t bytes, const Add& add) {
  constexpr size_t kBlock = 64;
  if (was == nullptr) was = kZeros.data();
  if (std::memcmp(now, was, bytes) == 0) return;
  for (size_t block = 0; block < bytes; block += kBlock) {
    if (std::memcmp(now + block, was + block, kBlock) == 0) continue;
    for (size_t word = block; word < block + kBlock; word += sizeof(uint64_t)) {
      uint64_t a = 0;
      uint64_t b = 0;
      std::memcpy(&a, now + word, sizeof a);
      std::memcpy(&b, was + word, sizeof b);
      uint64_t differ = a ^ b;
      if (differ == 0) continue;
      // From the first byte that differs to the last one: in a word a gap is never worth another run.
      const auto first = static_cast<size_t>(std::countr_zero(differ)) / 8;
      const auto last = 7 - static_cast<size_t>(std::countl_zero(differ)) / 8;
      add(offset + word + first, offset + word + last + 1);
    }
  }
}

size_t value_bytes(ValType type) {
  switch (type) {
    case ValType::kI32:
    case ValType::kF32: return 4;
    case ValType::kI64:
    case ValType::kF64: return 8;
    case ValType::kV128: return 16;
    default: return 0;
  }
}

void put_values(std::vector<uint8_t>& into, const Changes& values) {
  if (!values.globals.empty()) {
    put_varint(into, values.globals.size());
    uint64_t next = 0;
    for (const Changes::Global& global : values.globals) {
      put_varint(into, global.number - next);
      next = uint64_t{global.number} + 1;
      into.push_back(static_cast<uint8_t>(global.value.type));
      const auto* bytes = reinterpret_cast<const uint8_t*>(&global.value.value);
      into.insert(into.end(), bytes, bytes + value_bytes(global.value.type));
    }
  }
  if (values.tables.empty()) return;
  put_varint(into, values.tables.size());
  uint64_t next = 0;
  for (const Changes::Table& table : values.tables) {
    put_varint(into, table.number - next);
    next = uint64_t{table.number} + 1;
    put_varint(into, table.elements);
    put_varint(into, table.changed.size());
    uint64_t next_element = 0;
    for (const Changes::Element& element : table.changed) {
      put_varint(into, element.number - next_element);
      next_element = uint64_t{element.number} + 1;
      put_varint(into, element.function == StateValues::kNullFunction ? 0 : uint64_t{element.function} + 1);
    }
  }
}

uint8_t parts_of(const Changes& values, Kind wasi, Kind caller) {
  uint8_t parts = 0;
  if (!values.globals.empty()) parts |= kGlobals;
  if (!values.tables.empty()) parts |= kTables;
  if (wasi == Kind::kSet) parts |= kWasi;
  if (wasi == Kind::kImage) parts |= kWasiOfImage;
  if (caller == Kind::kSet) parts |= kCaller;
  if (caller == Kind::kImage) parts |= kCallerOfImage;
  return parts;
}

// --- reading -------------------------------------------------------------------------------------------

// Goes over encoded bytes and tells `to` what there is.  Whatever is wrong ends it, with where and what.
template <typename To>
class Parser {
 public:
  Parser(std::span<const uint8_t> bytes, To& to) : bytes_(bytes), to_(to) {}

  Status parse() {
    const uint8_t version = u8();
    if (ok() && version > kVersion) {
      return Status::unsupported("a delta of version {}, this build reads up to {}", version, kVersion);
    }
    if (version != kVersion) fail("there is no such version");
    const uint8_t parts = u8();
    if ((parts & ~kPartsKnown) != 0) fail("parts that are not known");
    if ((parts & kWasi) != 0 && (parts & kWasiOfImage) != 0) fail("two states of WASI");
    if ((parts & kCaller) != 0 && (parts & kCallerOfImage) != 0) fail("two parts of the caller");
    const uint64_t memories = varint();
    if (memories > kMemoriesMax) fail("too many memories");
    for (uint64_t i = 0; ok() && i < memories; i++) memory(i, (parts & kLengths) != 0);
    if (ok() && (parts & kGlobals) != 0) globals();
    if (ok() && (parts & kTables) != 0) tables();
    if (ok() && (parts & kWasi) != 0) to_.wasi(take(varint()));
    if (ok() && (parts & kCaller) != 0) to_.caller(take(varint()));
    if (ok() && (parts & (kWasiOfImage | kCallerOfImage)) != 0) {
      to_.of_image((parts & kWasiOfImage) != 0, (parts & kCallerOfImage) != 0);
    }
    if (ok() && at_ != bytes_.size()) fail("something is left over");
    if (ok()) return {};
    return Status::corruption("a delta, at byte {}: {}", where_, what_);
  }

 private:
  bool ok() const { return what_.empty(); }
  void fail(std::string_view what) {
    if (!ok()) return;
    what_ = what;
    where_ = at_;
    at_ = bytes_.size();
  }
  uint8_t u8() {
    if (at_ >= bytes_.size()) {
      fail("it is cut short");
      return 0;
    }
    return bytes_[at_++];
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = u8();
      if (shift == 63 && byte > 1) break;
      value |= uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80) == 0) return value;
    }
    fail("a number is too large");
    return 0;
  }
  std::span<const uint8_t> take(uint64_t count) {
    if (count > bytes_.size() - at_) {
      fail("it is cut short");
      return {};
    }
    const auto taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
  }
  // A number after which the next one is larger: each is told by how far it is behind the one before.
  uint32_t number(uint64_t& next) {
    const uint64_t ahead = varint();
    if (ahead > std::numeric_limits<uint32_t>::max() || next + ahead > std::numeric_limits<uint32_t>::max()) {
      fail("a number is too large");
      return 0;
    }
    const uint64_t number = next + ahead;
    next = number + 1;
    return static_cast<uint32_t>(number);
  }

  void memory(size_t index, bool lengths) {
    if (lengths) {
      const uint64_t pages = varint();
      if (pages > (uint64_t{1} << 50)) fail("a memory is too long");
      if (ok() && pages > 0) to_.length(index, (pages - 1) * kPageBytes);
    }
    uint64_t at = 0;
    for (bool first = true; ok(); first = false) {
      const uint64_t length = varint();
      if (length == 0) break;
      const uint64_t ahead = varint();
      if (ahead > (uint64_t{1} << 62) || at + ahead > (uint64_t{1} << 62))
        return fail("an offset is too large");
      if (!first && ahead == 0) return fail("two runs touch");
      at += ahead;
      const std::span<const uint8_t> bytes = take(length);
      if (!ok()) return;
      to_.run(index, at, bytes);
      at += length;
    }
    if (ok()) to_.end_memory(index);
  }

  void globals() {
    const uint64_t count = varint();
    uint64_t next = 0;
    if (count == 0) fail("no globals");
    for (uint64_t i = 0; ok() && i < count; i++) {
      Changes::Global global;
      global.number = number(next);
      const uint8_t type = u8();
      if (type > static_cast<uint8_t>(ValType::kV128)) return fail("there is no such type");
      global.value.type = static_cast<ValType>(type);
      const std::span<const uint8_t> bytes = take(value_bytes(global.value.type));
      if (!ok()) return;
      std::memcpy(&global.value.value, bytes.data(), bytes.size());
      to_.global(global);
    }
  }

  void tables() {
    const uint64_t count = varint();
    uint64_t next = 0;
    if (count == 0) fail("no tables");
    for (uint64_t i = 0; ok() && i < count; i++) {
      Changes::Table table{.number = number(next), .elements = varint(), .changed = {}};
      const uint64_t changed = varint();
      uint64_t next_element = 0;
      for (uint64_t k = 0; ok() && k < changed; k++) {
        Changes::Element element;
        element.number = number(next_element);
        const uint64_t function = varint();
        if (function > std::numeric_limits<uint32_t>::max()) return fail("a number is too large");
        if (function > 0) element.function = static_cast<uint32_t>(function - 1);
        if (element.number >= table.elements) return fail("an element beyond its table");
        if (ok()) table.changed.push_back(element);
      }
      if (ok()) to_.table(std::move(table));
    }
  }

  std::span<const uint8_t> bytes_;
  To& to_;
  size_t at_ = 0;
  size_t where_ = 0;
  std::string_view what_;
};

template <typename To>
Status parse(std::span<const uint8_t> bytes, To& to) {
  return Parser<To>(bytes, to).parse();
}

struct Decoder {
  Delta delta;

  Delta::Memory& memory(size_t index) {
    if (index >= delta.memories.size()) delta.memories.resize(index + 1);
    return delta.memories[index];
  }
  void length(size_t index, uint64_t bytes) { memory(index).bytes = bytes; }
  void run(size_t index, uint64_t offset, std::span<const uint8_t> bytes) {
    memory(index).runs.push_back({offset, {bytes.begin(), bytes.end()}});
  }
  void end_memory(size_t /*index*/) {}
  void global(const Changes::Global& global) { delta.values.globals.push_back(global); }
  void table(Changes::Table table) { delta.values.tables.push_back(std::move(table)); }
  void wasi(std::span<const uint8_t> bytes) { delta.wasi = {Kind::kSet, {bytes.begin(), bytes.end()}}; }
  void caller(std::span<const uint8_t> bytes) { delta.caller = {Kind::kSet, {bytes.begin(), bytes.end()}}; }
  void of_image(bool wasi, bool caller) {
    if (wasi) delta.wasi.kind = Kind::kImage;
    if (caller) delta.caller.kind = Kind::kImage;
  }
};

}  // namespace

std::vector<uint8_t> encode_delta(const Delta& delta) {
  std::vector<uint8_t> bytes{kVersion, parts_of(delta.values, delta.wasi.kind, delta.caller.kind)};
  size_t memories = delta.memories.size();
  while (memories > 0 && delta.memories[memories - 1] == Delta::Memory{}) memories--;
  const bool lengths = std::ranges::any_of(
      delta.memories, [](const Delta::Memory& memory) { return memory.bytes.has_value(); });
  if (lengths) bytes[1] |= kLengths;
  put_varint(bytes, memories);
  for (size_t i = 0; i < memories; i++) {
    const Delta::Memory& memory = delta.memories[i];
    if (lengths) put_varint(bytes, memory.bytes ? *memory.bytes / kPageBytes + 1 : 0);
    uint64_t done = 0;
    for (const Delta::Run& run : memory.runs) {
      put_varint(bytes, run.bytes.size());
      put_varint(bytes, run.offset - done);
      bytes.insert(bytes.end(), run.bytes.begin(), run.bytes.end());
      done = run.end();
    }
    put_varint(bytes, 0);
  }
  put_values(bytes, delta.values);
  if (delta.wasi.kind == Kind::kSet) put_bytes(bytes, delta.wasi.bytes);
  if (delta.caller.kind == Kind::kSet) put_bytes(bytes, delta.caller.bytes);
  return bytes;
}

Result<Delta> decode_delta(std::span<const uint8_t> bytes) {
  Decoder decoder;
  SPORE_TRY(parse(bytes, decoder));
  return std::move(decoder.delta);
}

// --- checking ------------------------------------------------------------------------------------------

namespace {

// The length of an image's memory with these changes.
uint64_t bytes_of(const Delta& delta, size_t memory, uint64_t before) {
  return memory < delta.memories.size() ? delta.memories[memory].bytes.value_or(before) : before;
}

Status check_runs(const Delta::Memory& memory, size_t index, uint64_t bytes) {
  for (const Delta::Run& run : memory.runs) {
    if (run.offset <= bytes && run.bytes.size() <= bytes - run.offset) continue;
    return Status::invalid_argument("bytes {} to {} of memory {}, which has {}", run.offset, run.end(), index,
                                    bytes);
  }
  return {};
}

// `values` with these changes.
Result<StateValues> changed(StateValues values, const Changes& changes, uint64_t elements_max) {
  for (const Changes::Global& global : changes.globals) {
    if (global.number >= values.globals.size()) {
      return Status::invalid_argument("global {}, there are {}", global.number, values.globals.size());
    }
    values.globals[global.number] = global.value;
  }
  for (const Changes::Table& table : changes.tables) {
    if (table.number >= values.tables.size()) {
      return Status::invalid_argument("table {}, the module writes to {}", table.number,
                                      values.tables.size());
    }
    std::vector<uint32_t>& elements = values.tables[table.number];
    if (table.elements > std::max<uint64_t>(elements_max, elements.size())) {
      return Status::limit_exceeded("a table of {} elements (table_elements_max={})", table.elements,
                                    elements_max);
    }
    elements.resize(table.elements, StateValues::kNullFunction);
    for (const Changes::Element& element : table.changed) {
      if (element.number >= elements.size()) {
        return Status::invalid_argument("element {} of table {}, which has {}", element.number, table.number,
                                        elements.size());
      }
      elements[element.number] = element.function;
    }
  }
  return values;
}

}  // namespace

Status check_delta(const Delta& delta, const Image& image) {
  const Blueprint& blueprint = image.blueprint();
  const auto& memories = image.memories().images;
  if (delta.memories.size() > memories.size()) {
    return Status::invalid_argument("{} memories, the module has {}", delta.memories.size(), memories.size());
  }
  for (size_t i = 0; i < delta.memories.size(); i++) {
    const wasm::PreparedModule::Memory& memory = blueprint.prepared->memories[i];
    const uint64_t before = memories[i]->bytes();
    const uint64_t bytes = bytes_of(delta, i, before);
    if (bytes > blueprint.limits.memory_bytes_max) {
      return Status::limit_exceeded("a memory of {} bytes (memory_bytes_max={})", bytes,
                                    blueprint.limits.memory_bytes_max);
    }
    if (bytes < before || memory.page_bytes == 0 || bytes % memory.page_bytes != 0 ||
        bytes / memory.page_bytes > memory.pages_max.value_or(std::numeric_limits<uint64_t>::max())) {
      return Status::invalid_argument("memory {} of {} bytes, the image's has {} and its module says no",
                                      memory.index, bytes, before);
    }
    SPORE_TRY(check_runs(delta.memories[i], i, bytes));
  }
  const StateValues values =
      SPORE_TRY(changed(image.values(), delta.values, blueprint.limits.table_elements_max));
  SPORE_TRY(engine::check_values(values, *blueprint.prepared));
  if (delta.wasi.kind == Kind::kSet && blueprint.wasi == nullptr) {
    return Status::invalid_argument("a state of WASI, which the module does not need");
  }
  return {};
}

// --- of an instance, and to one ------------------------------------------------------------------------

Status encode_state(CleanInstance& instance, const std::vector<uint8_t>* caller, size_t bytes_max,
                    std::vector<uint8_t>& into) {
  const engine::InstanceState& state = instance.state();
  const Image& image = instance.image();
  // Kept for their capacity.
  thread_local Changes values;
  thread_local std::vector<memory::PageRun> written;
  SPORE_TRY(state.changes(values));
  if constexpr (kBreakCell == BreakCell::kGlobal) {
    if (!values.globals.empty()) values.globals.pop_back();
  }
  if constexpr (kBreakCell == BreakCell::kElement) {
    for (Changes::Table& table : values.tables) {
      if (!table.changed.empty()) table.changed.pop_back();
    }
  }
  std::vector<uint8_t> wasi_bytes;
  host::Wasi* const wasi = instance.instance().wasi();
  const bool other_wasi =
      wasi != nullptr && !(wasi->state() == image.wasi()) && kBreakCell != BreakCell::kWasi;
  if (other_wasi) wasi_bytes = SPORE_TRY(wasi->save());

  const size_t begin = into.size();
  const auto& slots = state.slots();
  const bool lengths = std::ranges::any_of(slots, [](const memory::Slot* slot) { return slot->grown(); }) &&
                       kBreakCell != BreakCell::kLength;
  into.push_back(kVersion);
  into.push_back(static_cast<uint8_t>(
      parts_of(values, other_wasi ? Kind::kSet : Kind::kSame, caller != nullptr ? Kind::kSet : Kind::kSame) |
      (lengths ? kLengths : 0)));
  put_varint(into, slots.size());
  for (memory::Slot* slot : slots) {
    if (lengths) put_varint(into, slot->grown() ? slot->bytes() / kPageBytes + 1 : 0);
    RunWriter runs(into, slot->base());
    slot->written(written);
    const memory::PageImage* was = slot->image();
    for (const memory::PageRun& run : written) {
      for (size_t offset = run.offset; offset < run.offset + run.bytes; offset += kPageBytes) {
        compare(slot->base() + offset, was == nullptr ? nullptr : was->page(offset), offset, kPageBytes,
                [&](uint64_t from, uint64_t to) { runs.add(from, to); });
      }
      if (into.size() - begin > bytes_max) break;
    }
    runs.finish();
  }
  put_values(into, values);
  if (other_wasi) put_bytes(into, wasi_bytes);
  if (caller != nullptr) put_bytes(into, *caller);
  if (into.size() - begin <= bytes_max) return {};
  into.resize(begin);
  return Status::limit_exceeded(
      "what it differs by from its image has more than {} bytes (cell_delta_bytes_max)", bytes_max);
}

namespace {

// Writes what it is told to an instance.
struct Applier {
  const engine::InstanceState& state;
  host::Instance& instance;
  Changes values{};
  Applied applied{};
  Status status{};

  void length(size_t index, uint64_t bytes) {
    if (!status.ok() || index >= state.slots().size()) return wrong();
    status = state.grow_memory(index, bytes);
  }
  void run(size_t index, uint64_t offset, std::span<const uint8_t> bytes) {
    if (!status.ok() || index >= state.slots().size()) return wrong();
    const memory::Slot& slot = *state.slots()[index];
    if (offset > slot.bytes() || bytes.size() > slot.bytes() - offset) return wrong();
    // In user mode, on the thread that uses the slot: as if the guest wrote.
    std::memcpy(slot.base() + offset, bytes.data(), bytes.size());
  }
  void end_memory(size_t /*index*/) {}
  void global(const Changes::Global& global) { values.globals.push_back(global); }
  void table(Changes::Table table) { values.tables.push_back(std::move(table)); }
  void wasi(std::span<const uint8_t> bytes) {
    if (!status.ok()) return;
    if (instance.wasi() == nullptr) return wrong();
    auto lost = instance.wasi()->restore(bytes, instance.limits().open_files_max);
    if (lost.ok()) {
      applied.lost = std::move(lost).value();
    } else {
      status = std::move(lost).status();
    }
  }
  void caller(std::span<const uint8_t> bytes) { applied.caller.emplace(bytes.begin(), bytes.end()); }
  void of_image(bool /*wasi*/, bool /*caller*/) {}
  void wrong() {
    if (status.ok()) status = Status::corruption("a delta that does not fit its image");
  }
};

}  // namespace

Result<Applied> apply_state(CleanInstance& instance, std::span<const uint8_t> bytes) {
  Applier applier{.state = instance.state(), .instance = instance.instance()};
  SPORE_TRY(parse(bytes, applier));
  SPORE_TRY(std::move(applier.status));
  if (!applier.values.globals.empty() || !applier.values.tables.empty()) {
    SPORE_TRY(instance.state().apply(applier.values));
  }
  return std::move(applier.applied);
}

// --- of two deltas -------------------------------------------------------------------------------------

namespace {

// Both, in order; where they overlap `second` counts.
std::vector<Delta::Run> overlay(std::vector<Delta::Run> first, const std::vector<Delta::Run>& second) {
  if (second.empty()) return first;
  std::vector<Delta::Run> both;
  // What is left of the first ones.
  const auto keep = [&](const Delta::Run& run, uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    const auto from = run.bytes.begin() + static_cast<ptrdiff_t>(begin - run.offset);
    both.push_back({begin, {from, from + static_cast<ptrdiff_t>(end - begin)}});
  };
  auto over = second.begin();
  for (const Delta::Run& run : first) {
    uint64_t at = run.offset;
    while (over != second.end() && over->end() <= at) ++over;
    for (auto next = over; next != second.end() && next->offset < run.end(); ++next) {
      keep(run, at, std::min(next->offset, run.end()));
      at = std::max(at, next->end());
    }
    keep(run, at, run.end());
  }
  both.insert(both.end(), second.begin(), second.end());
  std::ranges::sort(both, {}, &Delta::Run::offset);
  std::vector<Delta::Run> merged;
  for (Delta::Run& run : both) {
    if (!merged.empty() && merged.back().end() == run.offset) {
      merged.back().bytes.insert(merged.back().bytes.end(), run.bytes.begin(), run.bytes.end());
    } else {
      merged.push_back(std::move(run));
    }
  }
  return merged;
}

template <typename T>
void overlay_by_number(std::vector<T>& first, const std::vector<T>& second) {
  for (const T& changed : second) {
    const auto found = std::ranges::lower_bound(first, changed.number, {}, &T::number);
    if (found != first.end() && found->number == changed.number) {
      *found = changed;
    } else {
      first.insert(found, changed);
    }
  }
}

void overlay_part(Delta::Part& first, const Delta::Part& second) {
  if (second.kind != Kind::kSame) first = second;
}

}  // namespace

Result<Delta> fold(Delta first, const Delta& second) {
  if (first.memories.size() < second.memories.size()) first.memories.resize(second.memories.size());
  for (size_t i = 0; i < second.memories.size(); i++) {
    Delta::Memory& memory = first.memories[i];
    const Delta::Memory& over = second.memories[i];
    if (over.bytes) {
      if (memory.bytes && *over.bytes < *memory.bytes) {
        return Status::invalid_argument("memory {} of {} bytes becomes one of {}: none gets shorter", i,
                                        *memory.bytes, *over.bytes);
      }
      memory.bytes = over.bytes;
    }
    memory.runs = kBreakCell == BreakCell::kFold ? overlay(over.runs, memory.runs)
                                                 : overlay(std::move(memory.runs), over.runs);
  }
  overlay_by_number(first.values.globals, second.values.globals);
  for (const Changes::Table& table : second.values.tables) {
    auto& tables = first.values.tables;
    const auto found = std::ranges::lower_bound(tables, table.number, {}, &Changes::Table::number);
    if (found == tables.end() || found->number != table.number) {
      tables.insert(found, table);
      continue;
    }
    found->elements = table.elements;
    std::erase_if(found->changed, [&](const Changes::Element& e) { return e.number >= table.elements; });
    overlay_by_number(found->changed, table.changed);
  }
  overlay_part(first.wasi, second.wasi);
  overlay_part(first.caller, second.caller);
  return first;
}

namespace {

// A page of the image with the runs of a delta: into `page`.  `next`: the first run that may reach it.
void page_with(const memory::PageImage& image, const Delta::Memory& memory, uint64_t offset,
               std::array<std::byte, kPageBytes>& page) {
  const std::byte* below = image.page(offset);
  std::memcpy(page.data(), below == nullptr ? kZeros.data() : below, kPageBytes);
  auto run = std::ranges::upper_bound(memory.runs, offset, {}, &Delta::Run::offset);
  if (run != memory.runs.begin()) --run;
  for (; run != memory.runs.end() && run->offset < offset + kPageBytes; ++run) {
    const uint64_t begin = std::max(run->offset, offset);
    const uint64_t end = std::min(run->end(), offset + kPageBytes);
    if (begin < end) std::memcpy(&page[begin - offset], &run->bytes[begin - run->offset], end - begin);
  }
}

void add_pages(const Delta::Memory& memory, std::vector<uint64_t>& pages) {
  for (const Delta::Run& run : memory.runs) {
    for (uint64_t page = run.offset / kPageBytes; page * kPageBytes < run.end(); page++)
      pages.push_back(page);
  }
}

// Appends what differs of a page; pieces that nearly touch become one.
void add_difference(std::vector<Delta::Run>& runs, const std::byte* now, const std::byte* was,
                    uint64_t offset) {
  compare(now, was, offset, kPageBytes, [&](uint64_t begin, uint64_t end) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(now);
    uint64_t from = begin;
    if (!runs.empty() && begin - runs.back().end() < kGapBytesMin && runs.back().end() >= offset) {
      from = runs.back().end();
    } else if (runs.empty() || runs.back().end() != begin) {
      runs.push_back({begin, {}});
    }
    runs.back().bytes.insert(runs.back().bytes.end(), bytes + (from - offset), bytes + (end - offset));
  });
}

Delta::Memory difference_of(const Delta::Memory& earlier, const Delta::Memory& later,
                            const memory::PageImage& image) {
  Delta::Memory memory;
  const uint64_t before = earlier.bytes.value_or(image.bytes());
  const uint64_t after = later.bytes.value_or(image.bytes());
  if (before != after) memory.bytes = after;
  std::vector<uint64_t> pages;
  if constexpr (kBreakCell != BreakCell::kRevert) add_pages(earlier, pages);
  add_pages(later, pages);
  std::ranges::sort(pages);
  pages.erase(std::ranges::unique(pages).begin(), pages.end());
  std::array<std::byte, kPageBytes> was{};
  std::array<std::byte, kPageBytes> now{};
  for (const uint64_t page : pages) {
    if (page * kPageBytes >= after) break;
    page_with(image, earlier, page * kPageBytes, was);
    page_with(image, later, page * kPageBytes, now);
    add_difference(memory.runs, now.data(), was.data(), page * kPageBytes);
  }
  return memory;
}

Delta::Part difference_of(const Delta::Part& earlier, const Delta::Part& later) {
  if (earlier == later) return {};
  if (later.kind == Kind::kSet) return later;
  return {.kind = Kind::kImage};
}

// The values that `to` has and `from` has not.
Changes difference_of(const StateValues& from, const StateValues& to) {
  Changes changes;
  for (size_t i = 0; i < to.globals.size(); i++) {
    const auto& was = from.globals[i].value.v128;
    const auto& now = to.globals[i].value.v128;
    if (!std::equal(now.begin(), now.begin() + static_cast<ptrdiff_t>(value_bytes(to.globals[i].type)),
                    was.begin())) {
      changes.globals.push_back({static_cast<uint32_t>(i), to.globals[i]});
    }
  }
  for (size_t i = 0; i < to.tables.size(); i++) {
    const std::vector<uint32_t>& was = from.tables[i];
    const std::vector<uint32_t>& now = to.tables[i];
    if (was == now) continue;
    Changes::Table table{.number = static_cast<uint32_t>(i), .elements = now.size(), .changed = {}};
    for (size_t k = 0; k < now.size(); k++) {
      const uint32_t before = k < was.size() ? was[k] : StateValues::kNullFunction;
      if (now[k] != before) table.changed.push_back({static_cast<uint32_t>(k), now[k]});
    }
    changes.tables.push_back(std::move(table));
  }
  return changes;
}

void drop_empty_memories(Delta& delta) {
  while (!delta.memories.empty() && delta.memories.back() == Delta::Memory{}) delta.memories.pop_back();
}

}  // namespace

Delta difference(const Delta& earlier, const Delta& later, const Image& image) {
  Delta delta;
  const auto& memories = image.memories().images;
  delta.memories.resize(memories.size());
  const Delta::Memory none;
  for (size_t i = 0; i < memories.size(); i++) {
    const auto at = [&](const Delta& of) -> const Delta::Memory& {
      return i < of.memories.size() ? of.memories[i] : none;
    };
    delta.memories[i] = difference_of(at(earlier), at(later), *memories[i]);
  }
  drop_empty_memories(delta);
  constexpr uint64_t kNoLimit = std::numeric_limits<uint32_t>::max();
  const Result<StateValues> was = changed(image.values(), earlier.values, kNoLimit);
  const Result<StateValues> now = changed(image.values(), later.values, kNoLimit);
  SPORE_ASSERT(was.ok() && now.ok(), "deltas of this image");
  delta.values = difference_of(was.value(), now.value());
  delta.wasi = difference_of(earlier.wasi, later.wasi);
  delta.caller = difference_of(earlier.caller, later.caller);
  return delta;
}

Result<Delta> difference(const Image::Parts& earlier, const Image::Parts& later) {
  const auto& before = earlier.memories;
  const auto& after = later.memories;
  if (before.size() != after.size() || earlier.values.globals.size() != later.values.globals.size() ||
      earlier.values.tables.size() != later.values.tables.size() ||
      earlier.wasi.has_value() != later.wasi.has_value()) {
    return Status::invalid_argument("two images of different modules");
  }
  Delta delta;
  delta.memories.resize(after.size());
  for (size_t i = 0; i < after.size(); i++) {
    Delta::Memory& memory = delta.memories[i];
    if (before[i]->bytes() != after[i]->bytes()) memory.bytes = after[i]->bytes();
    for (size_t offset = 0; offset < after[i]->bytes(); offset += kPageBytes) {
      const std::byte* was = offset < before[i]->bytes() ? before[i]->page(offset) : nullptr;
      const std::byte* now = after[i]->page(offset);
      if (was == now) continue;
      add_difference(memory.runs, now == nullptr ? kZeros.data() : now, was, offset);
    }
  }
  drop_empty_memories(delta);
  delta.values = difference_of(earlier.values, later.values);
  if (later.wasi != earlier.wasi) delta.wasi = {Kind::kSet, *later.wasi};
  return delta;
}

Result<Image::Parts> apply_delta(const Image::Parts& parts, const Delta& delta) {
  if (delta.memories.size() > parts.memories.size()) {
    return Status::invalid_argument("{} memories, the image has {}", delta.memories.size(),
                                    parts.memories.size());
  }
  Image::Parts made{.memories = parts.memories, .values = {}, .wasi = parts.wasi};
  constexpr uint64_t kNoLimit = std::numeric_limits<uint32_t>::max();
  made.values = SPORE_TRY(changed(parts.values, delta.values, kNoLimit));
  if (delta.wasi.kind == Kind::kSet) made.wasi = delta.wasi.bytes;
  for (size_t i = 0; i < delta.memories.size(); i++) {
    const Delta::Memory& memory = delta.memories[i];
    const memory::PageImage& below = *parts.memories[i];
    const uint64_t bytes = memory.bytes.value_or(below.bytes());
    SPORE_TRY(check_runs(memory, i, bytes));
    if (memory == Delta::Memory{}) continue;
    std::vector<uint64_t> pages;
    add_pages(memory, pages);
    for (size_t offset = 0; offset < std::min<uint64_t>(below.mapped_bytes(), bytes); offset += kPageBytes) {
      if (below.page(offset) != nullptr) pages.push_back(offset / kPageBytes);
    }
    std::ranges::sort(pages);
    pages.erase(std::ranges::unique(pages).begin(), pages.end());
    std::vector<memory::PageRun> data;
    for (const uint64_t page : pages) {
      const size_t offset = page * kPageBytes;
      if (data.empty() || data.back().offset + data.back().bytes != offset) data.push_back({offset, 0});
      data.back().bytes += kPageBytes;
    }
    memory::PageImageBuilder builder = SPORE_TRY(memory::PageImageBuilder::create(bytes, data));
    std::array<std::byte, kPageBytes> page{};
    for (const uint64_t number : pages) {
      page_with(below, memory, number * kPageBytes, page);
      SPORE_TRY(builder.write(number * kPageBytes, page));
    }
    made.memories[i] = SPORE_TRY(std::move(builder).finish());
  }
  return made;
}

uint64_t pages_in(const Delta& delta) {
  uint64_t count = 0;
  for (const Delta::Memory& memory : delta.memories) {
    std::vector<uint64_t> pages;
    add_pages(memory, pages);
    pages.erase(std::ranges::unique(pages).begin(), pages.end());
    count += pages.size();
  }
  return count;
}

}  // namespace spore::cell

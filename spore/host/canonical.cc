#include "spore/host/canonical.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/host/cabi.h"

namespace spore::host {

using cabi::given_span;
using engine::FuncType;
using engine::GuestMemory;
using engine::RawFunction;
using engine::RawValue;
using engine::ValType;
using wasm::WitKind;
using wasm::WitType;

namespace {

// Of the canonical ABI: more arguments than this travel in memory, and so do more results than one.
constexpr size_t kFlatParamsMax = 16;
constexpr uint64_t kSizeMax = UINT32_MAX;

uint64_t aligned(uint64_t offset, uint32_t align) { return (offset + align - 1) / align * align; }

struct NumberLayout {
  uint32_t size;
  ValType flat;
};

NumberLayout number_layout(const WitType& type) {
  constexpr size_t kCasesOfByte = 256;
  constexpr size_t kCasesOfShort = 65536;
  switch (type.kind) {
    case WitKind::kBool:
    case WitKind::kS8:
    case WitKind::kU8: return {1, ValType::kI32};
    case WitKind::kS16:
    case WitKind::kU16: return {2, ValType::kI32};
    case WitKind::kS64:
    case WitKind::kU64: return {8, ValType::kI64};
    case WitKind::kF32: return {4, ValType::kF32};
    case WitKind::kF64: return {8, ValType::kF64};
    case WitKind::kEnum:
      return {type.labels.size() <= kCasesOfByte    ? 1U
              : type.labels.size() <= kCasesOfShort ? 2U
                                                    : 4U,
              ValType::kI32};
    default: return {4, ValType::kI32};  // 32 bits and characters
  }
}

ValType joined(ValType a, ValType b) {
  if (a == b) return a;
  const bool narrow_a = a == ValType::kI32 || a == ValType::kF32;
  const bool narrow_b = b == ValType::kI32 || b == ValType::kF32;
  return narrow_a && narrow_b ? ValType::kI32 : ValType::kI64;
}

void join(const std::vector<ValType>& from, size_t begin, std::vector<ValType>& to) {
  for (size_t i = 0; i < from.size(); i++) {
    if (begin + i < to.size()) {
      to[begin + i] = joined(to[begin + i], from[i]);
    } else {
      to.push_back(from[i]);
    }
  }
}

// Types nest no deeper than their reader allows (rust/src/wit.rs).
Result<WitLayout> layout_of(const WitType& type) {  // NOLINT(misc-no-recursion)
  WitLayout layout{.type = &type};
  if (is_number(type.kind)) {
    const NumberLayout number = number_layout(type);
    layout.size = layout.align = number.size;
    layout.flat = {number.flat};
    return layout;
  }
  for (const wasm::WitTypeRef& part : type.parts) {
    layout.parts.push_back(part == nullptr ? WitLayout() : SPORE_TRY(layout_of(*part)));
  }
  uint64_t size = 0;
  switch (type.kind) {
    case WitKind::kString:
    case WitKind::kBytes:
    case WitKind::kList:
      size = 2 * sizeof(uint32_t);
      layout.align = sizeof(uint32_t);
      layout.flat = {ValType::kI32, ValType::kI32};
      break;
    case WitKind::kOption:
    case WitKind::kResult:
      layout.flat = {ValType::kI32};
      for (const WitLayout& part : layout.parts) {
        if (part.type != nullptr) layout.values = std::max(layout.values, 1 + part.values);
        layout.align = std::max(layout.align, part.align);
        size = std::max<uint64_t>(size, part.size);
        join(part.flat, 1, layout.flat);
      }
      layout.payload = static_cast<uint32_t>(aligned(1, layout.align));
      size = aligned(layout.payload + size, layout.align);
      break;
    default:  // tuples and records
      for (const WitLayout& part : layout.parts) {
        layout.align = std::max(layout.align, part.align);
        layout.offsets.push_back(static_cast<uint32_t>(aligned(size, part.align)));
        size = layout.offsets.back() + uint64_t{part.size};
        layout.flat.insert(layout.flat.end(), part.flat.begin(), part.flat.end());
        layout.values += part.values;
      }
      size = aligned(size, layout.align);
      if (size == 0) return Status::unsupported("the type {} has nothing in it", type.text());
  }
  if (size > kSizeMax) return Status::unsupported("the type {} is too large", type.text());
  layout.size = static_cast<uint32_t>(size);
  return layout;
}

bool has_memory(const WitType& type) {  // NOLINT(misc-no-recursion)
  if (type.kind == WitKind::kString || type.kind == WitKind::kBytes || type.kind == WitKind::kList)
    return true;
  return std::ranges::any_of(type.parts, [](const wasm::WitTypeRef& part) {  // NOLINT(misc-no-recursion)
    return part != nullptr && has_memory(*part);
  });
}

void store_bytes(std::byte* to, uint64_t bits, uint32_t size) { std::memcpy(to, &bits, size); }
uint64_t load_bytes(const std::byte* from, uint32_t size) {
  uint64_t bits = 0;
  std::memcpy(&bits, from, size);
  return bits;
}

// What was loaded of a number, or came as a core value, as its type has it.
Result<uint64_t> number_of(const WitType& type, uint64_t bits) {
  switch (type.kind) {
    case WitKind::kBool: return uint64_t{(bits & UINT32_MAX) != 0};
    case WitKind::kS8: return static_cast<uint64_t>(int64_t{static_cast<int8_t>(bits)});
    case WitKind::kU8: return bits & UINT8_MAX;
    case WitKind::kS16: return static_cast<uint64_t>(int64_t{static_cast<int16_t>(bits)});
    case WitKind::kU16: return bits & UINT16_MAX;
    case WitKind::kS32: return static_cast<uint64_t>(int64_t{static_cast<int32_t>(bits)});
    case WitKind::kU32:
    case WitKind::kF32: return bits & UINT32_MAX;
    case WitKind::kChar:
    case WitKind::kEnum: {
      const uint64_t value = bits & UINT32_MAX;
      const Status status = check_value(type, {.bits = value});
      if (status.ok()) return value;
      return engine::bad_result(status.message());
    }
    default: return bits;
  }
}

}  // namespace

// --- signatures ---------------------------------------------------------------------------------------

Result<std::shared_ptr<const WitAbi>> WitAbi::create(wasm::WitSignature signature) {
  std::shared_ptr<WitAbi> abi(new WitAbi());
  abi->signature_ = std::move(signature);
  abi->numbers_ = true;
  std::vector<ValType> flat;
  uint64_t size = 0;
  for (const wasm::WitParam& param : abi->signature_.params) {
    WitLayout layout = SPORE_TRY(layout_of(*param.type));
    flat.insert(flat.end(), layout.flat.begin(), layout.flat.end());
    abi->param_offsets_.push_back(static_cast<uint32_t>(aligned(size, layout.align)));
    size = abi->param_offsets_.back() + uint64_t{layout.size};
    abi->params_align_ = std::max(abi->params_align_, layout.align);
    abi->memory_in_ = abi->memory_in_ || has_memory(*param.type);
    abi->numbers_ = abi->numbers_ && is_number(param.type->kind);
    abi->params_.push_back(std::move(layout));
    if (size > kSizeMax) return Status::unsupported("the arguments are too large");
  }
  abi->params_in_memory_ = flat.size() > kFlatParamsMax;
  if (abi->params_in_memory_) {
    abi->params_size_ = static_cast<uint32_t>(aligned(size, abi->params_align_));
    abi->memory_in_ = true;
    abi->numbers_ = false;
    flat = {ValType::kI32};
  }
  abi->core_.params = std::move(flat);
  if (abi->signature_.result == nullptr) return std::shared_ptr<const WitAbi>(std::move(abi));
  abi->result_ = SPORE_TRY(layout_of(*abi->signature_.result));
  abi->result_in_memory_ = abi->result_->flat.size() > 1;
  abi->numbers_ = abi->numbers_ && is_number(abi->signature_.result->kind);
  abi->core_.results = abi->result_in_memory_ ? std::vector<ValType>{ValType::kI32} : abi->result_->flat;
  return std::shared_ptr<const WitAbi>(std::move(abi));
}

// --- arguments ----------------------------------------------------------------------------------------

class WitFunction::Lowering {
 public:
  explicit Lowering(const WitFunction& function)
      : function_(function),
        memory_(function.abi_->memory_in_ ? function.store_->memory_of_this_thread(function.instance_)
                                          : GuestMemory()) {}

  // To zeroed core values: a narrow one in the place of a wide one is the wide one's low bits, as it is to
  // be.
  Status flat(const WitLayout& layout, const WitArg& arg, RawValue*& out) {  // NOLINT(misc-no-recursion)
    const WitType& type = *layout.type;
    if (is_number(type.kind)) {
      SPORE_TRY(check_number(type, arg));
      *out++ = lower_number(type.kind, arg.bits);
      return {};
    }
    switch (type.kind) {
      case WitKind::kString:
      case WitKind::kBytes:
      case WitKind::kList: {
        const Pair pair = SPORE_TRY(sequence(layout, arg));
        (out++)->i32 = static_cast<int32_t>(pair.address);
        (out++)->i32 = static_cast<int32_t>(pair.length);
        return {};
      }
      case WitKind::kOption:
      case WitKind::kResult: {
        const WitLayout* part = SPORE_TRY(chosen(layout, arg));
        RawValue* const end = out + layout.flat.size();
        (out++)->i32 = static_cast<int32_t>(arg.bits);
        if (part != nullptr) SPORE_TRY(flat(*part, arg.value->items[0], out));
        out = end;
        return {};
      }
      default: break;
    }
    SPORE_TRY(check_parts(layout, arg));
    for (size_t i = 0; i < layout.parts.size(); i++) {
      SPORE_TRY(flat(layout.parts[i], arg.value->items[i], out));
    }
    return {};
  }

  // At an address whose bytes are there: an allocation of ours.
  Status store(const WitLayout& layout, const WitArg& arg, uint32_t address) {  // NOLINT(misc-no-recursion)
    const WitType& type = *layout.type;
    if (is_number(type.kind)) {
      SPORE_TRY(check_number(type, arg));
      return put(address, arg.bits, layout.size);
    }
    switch (type.kind) {
      case WitKind::kString:
      case WitKind::kBytes:
      case WitKind::kList: {
        const Pair pair = SPORE_TRY(sequence(layout, arg));
        return put(address, pair.address | uint64_t{pair.length} << 32U, layout.size);
      }
      case WitKind::kOption:
      case WitKind::kResult: {
        const WitLayout* part = SPORE_TRY(chosen(layout, arg));
        SPORE_TRY(put(address, arg.bits, 1));
        return part == nullptr ? Status() : store(*part, arg.value->items[0], address + layout.payload);
      }
      default: break;
    }
    SPORE_TRY(check_parts(layout, arg));
    for (size_t i = 0; i < layout.parts.size(); i++) {
      SPORE_TRY(store(layout.parts[i], arg.value->items[i], address + layout.offsets[i]));
    }
    return {};
  }

  // A list of tuples, given by their parts.
  Status rows(const WitLayout& list, std::span<const WitArg> parts, RawValue* out) {
    const WitLayout& row = list.parts[0];
    const size_t width = row.parts.size();
    const size_t count = parts.size() / width;
    const uint64_t bytes = count * uint64_t{row.size};
    SPORE_TRY(charge(bytes));
    const uint32_t address = SPORE_TRY(allocate(row.align, static_cast<uint32_t>(bytes)));
    for (size_t i = 0; i < count; i++) {
      const auto to = static_cast<uint32_t>(address + i * row.size);
      for (size_t k = 0; k < width; k++) {
        SPORE_TRY(store(row.parts[k], parts[i * width + k], to + row.offsets[k]));
      }
    }
    out[0].i32 = static_cast<int32_t>(address);
    out[1].i32 = static_cast<int32_t>(count);
    return {};
  }

  Result<uint32_t> allocate(uint32_t align, uint32_t bytes) {
    const uint32_t address = SPORE_TRY(cabi::allocate(*function_.realloc_, align, bytes));
    memory_ = function_.store_->memory_of_this_thread(function_.instance_);
    SPORE_TRY(given_span(memory_, {address}, bytes));
    if (address % align != 0) return engine::bad_result("memory for an argument that is not aligned");
    return address;
  }

 private:
  struct Pair {
    uint32_t address;
    uint32_t length;
  };

  static Status check_number(const WitType& type, const WitArg& arg) {
    // Of these every bit pattern is one; floats are the usual arguments.
    if (type.kind == WitKind::kF64 || type.kind == WitKind::kS64 || type.kind == WitKind::kU64) return {};
    return check_value(type, {.bits = arg.bits});
  }
  static Status no_value(const WitType& type) {
    return Status::invalid_argument("an argument that is no {}", type.text());
  }
  static Status check_parts(const WitLayout& layout, const WitArg& arg) {
    if (arg.value != nullptr && arg.value->items.size() == layout.parts.size()) return {};
    return no_value(*layout.type);
  }
  // The part that is there, of an option or a result; null: none.
  static Result<const WitLayout*> chosen(const WitLayout& layout, const WitArg& arg) {
    const bool option = layout.type->kind == WitKind::kOption;
    if (arg.bits > 1) return no_value(*layout.type);
    const WitLayout* part =
        option ? (arg.bits == 0 ? nullptr : layout.parts.data()) : &layout.parts[arg.bits];
    if (part != nullptr && part->type == nullptr) part = nullptr;
    const size_t items = arg.value == nullptr ? 0 : arg.value->items.size();
    if (items != (part == nullptr ? 0 : 1)) return no_value(*layout.type);
    return part;
  }

  Status put(uint32_t address, uint64_t bits, uint32_t size) {
    const std::span<std::byte> bytes = SPORE_TRY(given_span(memory_, {address}, size));
    store_bytes(bytes.data(), bits, size);
    return {};
  }

  Result<Pair> sequence(const WitLayout& layout, const WitArg& arg) {  // NOLINT(misc-no-recursion)
    if (layout.type->kind == WitKind::kList) return list(layout, arg);
    const std::string_view text = arg.text;
    if (layout.type->kind == WitKind::kString && !is_utf8(text)) {
      return Status::invalid_argument("a string that is not UTF-8");
    }
    SPORE_TRY(charge(text.size()));
    const auto length = static_cast<uint32_t>(text.size());
    const uint32_t address = SPORE_TRY(allocate(1, length));
    const std::span<std::byte> to = SPORE_TRY(given_span(memory_, {address}, length));
    // Not memcpy of nothing: both pointers may be null then.
    if (length > 0) std::memcpy(to.data(), text.data(), length);
    return Pair{address, length};
  }
  Result<Pair> list(const WitLayout& layout, const WitArg& arg) {  // NOLINT(misc-no-recursion)
    if (arg.value == nullptr) return no_value(*layout.type);
    const std::vector<WitValue>& items = arg.value->items;
    const WitLayout& item = layout.parts[0];
    const uint64_t bytes = items.size() * uint64_t{item.size};
    SPORE_TRY(charge(bytes));
    const uint32_t address = SPORE_TRY(allocate(item.align, static_cast<uint32_t>(bytes)));
    for (size_t i = 0; i < items.size(); i++) {
      SPORE_TRY(store(item, items[i], address + static_cast<uint32_t>(i) * item.size));
    }
    return Pair{address, static_cast<uint32_t>(items.size())};
  }
  Status charge(uint64_t bytes) const {
    engine::Store& store = *function_.store_;
    if (bytes > store.limits().copy_bytes_max || bytes > UINT32_MAX) {
      return Status::limit_exceeded("an argument of {} bytes (copy_bytes_max={})", bytes,
                                    store.limits().copy_bytes_max);
    }
    return store.charge_copy(bytes);
  }

  const WitFunction& function_;
  GuestMemory memory_;
};

// --- results ------------------------------------------------------------------------------------------

class WitFunction::Lifting {
 public:
  explicit Lifting(const WitFunction& function)
      : store_(*function.store_), memory_(store_.memory_of_this_thread(function.instance_)) {}

  // At most one core value.
  static Status flat(const WitLayout& layout, const RawValue& value,
                     WitValue& out) {  // NOLINT(misc-no-recursion)
    const WitType& type = *layout.type;
    if (is_number(type.kind)) {
      out.bits = SPORE_TRY(lift_number(type, value));
      return {};
    }
    if (type.kind == WitKind::kResult) {  // of nothing
      out.bits = static_cast<uint32_t>(value.i32);
      out.items.clear();
      return out.bits <= 1 ? Status() : engine::bad_result("a result that is neither ok nor an error");
    }
    out.items.resize(layout.parts.size());
    for (size_t i = 0; i < layout.parts.size(); i++) SPORE_TRY(flat(layout.parts[i], value, out.items[i]));
    return {};
  }

  Status load(const WitLayout& layout, uint32_t address, WitValue& out) {  // NOLINT(misc-no-recursion)
    if (address % layout.align != 0) return engine::bad_result("an address that is not aligned");
    const std::span<std::byte> bytes = SPORE_TRY(given_span(memory_, {address}, layout.size));
    return load(layout, bytes.data(), out);
  }

 private:
  // All of its bytes are there.
  Status load(const WitLayout& layout, const std::byte* bytes, WitValue& out) {  // NOLINT(misc-no-recursion)
    const WitType& type = *layout.type;
    if (is_number(type.kind)) {
      // A bool in memory is a byte, of which any but 0 is true.
      out.bits = SPORE_TRY(number_of(type, load_bytes(bytes, layout.size)));
      return {};
    }
    switch (type.kind) {
      case WitKind::kString:
      case WitKind::kBytes: return text(type, bytes, out);
      case WitKind::kList: return list(layout, bytes, out);
      case WitKind::kOption:
      case WitKind::kResult: {
        out.bits = load_bytes(bytes, 1);
        if (out.bits > 1) return engine::bad_result("an option or a result that is neither of its cases");
        const bool option = type.kind == WitKind::kOption;
        const WitLayout* part =
            option ? (out.bits == 0 ? nullptr : layout.parts.data()) : &layout.parts[out.bits];
        if (part == nullptr || part->type == nullptr) {
          out.items.clear();
          return {};
        }
        out.items.resize(1);
        return load(*part, bytes + layout.payload, out.items[0]);
      }
      default: break;
    }
    out.items.resize(layout.parts.size());
    for (size_t i = 0; i < layout.parts.size(); i++) {
      SPORE_TRY(load(layout.parts[i], bytes + layout.offsets[i], out.items[i]));
    }
    return {};
  }

  Status text(const WitType& type, const std::byte* bytes, WitValue& out) {
    const auto address = static_cast<uint32_t>(load_bytes(bytes, sizeof(uint32_t)));
    const auto length = static_cast<uint32_t>(load_bytes(bytes + sizeof(uint32_t), sizeof(uint32_t)));
    SPORE_TRY(charge(length));
    const std::span<std::byte> found = SPORE_TRY(given_span(memory_, {address}, length));
    out.text.assign(reinterpret_cast<const char*>(found.data()), found.size());
    if (type.kind == WitKind::kString && !is_utf8(out.text)) {
      return engine::bad_result("a string that is not UTF-8");
    }
    return {};
  }
  Status list(const WitLayout& layout, const std::byte* bytes, WitValue& out) {  // NOLINT(misc-no-recursion)
    const auto address = static_cast<uint32_t>(load_bytes(bytes, sizeof(uint32_t)));
    const auto length = static_cast<uint32_t>(load_bytes(bytes + sizeof(uint32_t), sizeof(uint32_t)));
    const WitLayout& item = layout.parts[0];
    if (address % item.align != 0) return engine::bad_result("a list whose address is not aligned");
    const std::span<std::byte> found =
        SPORE_TRY(given_span(memory_, {address}, uint64_t{length} * item.size));
    // What it takes here may be much more than what it takes there.
    SPORE_TRY(charge(uint64_t{length} * (item.size + item.values * sizeof(WitValue))));
    out.items.resize(length);
    for (uint32_t i = 0; i < length; i++) {
      SPORE_TRY(load(item, found.data() + size_t{i} * item.size, out.items[i]));
    }
    return {};
  }
  Status charge(uint64_t bytes) {
    if (bytes > store_.limits().copy_bytes_max) {
      return Status::limit_exceeded("a result of {} bytes (copy_bytes_max={})", bytes,
                                    store_.limits().copy_bytes_max);
    }
    return store_.charge_copy(bytes);
  }

  engine::Store& store_;
  GuestMemory memory_;  // nothing is called while it is looked at
};

// --- calls --------------------------------------------------------------------------------------------

RawValue WitFunction::lower_number(WitKind kind, uint64_t bits) {
  switch (kind) {
    case WitKind::kS8: bits = static_cast<uint32_t>(int32_t{static_cast<int8_t>(bits)}); break;
    case WitKind::kU8: bits &= UINT8_MAX; break;
    case WitKind::kS16: bits = static_cast<uint32_t>(int32_t{static_cast<int16_t>(bits)}); break;
    case WitKind::kU16: bits &= UINT16_MAX; break;
    case WitKind::kS64:
    case WitKind::kU64:
    case WitKind::kF64: break;
    default: bits &= UINT32_MAX;
  }
  return {.i64 = static_cast<int64_t>(bits)};
}

Result<uint64_t> WitFunction::lift_number(const WitType& type, const RawValue& value) {
  return number_of(type, static_cast<uint64_t>(value.i64));
}

Result<WitFunction> WitFunction::create(engine::Store& store, const engine::InstanceHandle& instance,
                                        std::string_view name, std::shared_ptr<const WitAbi> abi) {
  const RawFunction raw = SPORE_TRY(store.function(instance, name));
  if (raw.type() != abi->core_type()) {
    return Status::invalid_argument("the export '{}' is of type {}, but {} crosses as {}", printable(name),
                                    raw.type().text(), abi->signature().text(), abi->core_type().text());
  }
  WitFunction function(store, instance, raw, std::move(abi));
  const WitAbi& its = *function.abi_;
  if ((its.memory_in_ || its.result_in_memory_) && !store.has_memory(instance)) {
    return Status::invalid_argument(
        "'{}' passes what lies in memory, but the guest exports no memory 'memory'", printable(name));
  }
  if (its.memory_in_) {
    Result<RawFunction> found = cabi::helper(store, instance, cabi::kRealloc, cabi::realloc_type());
    if (!found.ok()) {
      return std::move(found).status().with_context(
          "arguments that lie in memory are passed by the canonical ABI");
    }
    function.realloc_ = found.value();
  }
  if (its.result_in_memory_) function.post_return_ = SPORE_TRY(cabi::post_return(store, instance, name));
  return function;
}

Status WitFunction::call(std::span<const WitArg> args, WitValue& result) const {
  const WitAbi& abi = *abi_;
  if (args.size() != abi.params_.size()) {
    return Status::invalid_argument("{} argument{} given, the function takes {}: {}", args.size(),
                                    args.size() == 1 ? "" : "s", abi.params_.size(), abi.signature_.text());
  }
  // Allocating, calling and freeing is one call to deadlines and quotas.
  std::optional<engine::Store::Group> group;
  if (abi.memory_in_ || abi.result_in_memory_) group.emplace(*store_);
  std::array<RawValue, kFlatParamsMax> values;
  for (size_t i = 0; i < abi.core_.params.size(); i++) values[i].i64 = 0;
  Lowering lowering(*this);
  RawValue* next = values.data();
  if (abi.params_in_memory_) {
    next->i32 = static_cast<int32_t>(SPORE_TRY(lowering.allocate(abi.params_align_, abi.params_size_)));
  }
  for (size_t i = 0; i < args.size(); i++) {
    Status status = abi.params_in_memory_
                        ? lowering.store(abi.params_[i], args[i],
                                         static_cast<uint32_t>(values[0].i32) + abi.param_offsets_[i])
                        : lowering.flat(abi.params_[i], args[i], next);
    if (!status.ok()) [[unlikely]] {
      return std::move(status).with_context(
          fmt::format("argument {} ('{}')", i + 1, printable(abi.signature_.params[i].name)));
    }
  }
  return call_lowered(values.data(), result);
}

Status WitFunction::call_lowered(RawValue* values, WitValue& result) const {
  const WitAbi& abi = *abi_;
  SPORE_TRY(function_.call_unchecked(values, std::max(abi.core_.params.size(), abi.core_.results.size())));
  if (!abi.result_) return {};
  if (!abi.result_in_memory_) return Lifting::flat(*abi.result_, values[0], result);
  SPORE_TRY(Lifting(*this).load(*abi.result_, static_cast<uint32_t>(values[0].i32), result));
  return post_return_ ? post_return_->call_unchecked(values, 1) : Status();
}

Status WitFunction::call_rows(std::span<const WitArg> parts, WitValue& result) const {
  const WitAbi& abi = *abi_;
  const WitLayout* list = abi.params_.size() == 1 ? abi.params_.data() : nullptr;
  const bool fits = list != nullptr && list->type->kind == WitKind::kList &&
                    list->parts[0].type->kind == WitKind::kTuple &&
                    parts.size() % list->parts[0].parts.size() == 0;
  if (!fits)
    return Status::invalid_argument("{} takes no rows of {} parts", abi.signature_.text(), parts.size());
  const engine::Store::Group group(*store_);
  std::array<RawValue, 2> values;
  SPORE_TRY(Lowering(*this).rows(*list, parts, values.data()));
  return call_lowered(values.data(), result);
}

}  // namespace spore::host

#include "spore/host/crossing.h"

#include <cstring>

#include "spore/base/utf8.h"

namespace spore::host {

using engine::FuncType;
using engine::GuestMemory;
using engine::GuestPtr;
using engine::RawFunction;
using engine::RawValue;
using engine::ValType;

namespace {

constexpr std::string_view kRealloc = "cabi_realloc";
const FuncType& realloc_type() {
  static const FuncType type{{ValType::kI32, ValType::kI32, ValType::kI32, ValType::kI32}, {ValType::kI32}};
  return type;
}

GuestPtr guest_ptr(const RawValue& value) { return {static_cast<uint32_t>(value.i32)}; }

// Memory that the guest itself named: if it is not there, that is the guest's failure.
Result<std::span<std::byte>> given_span(const GuestMemory& memory, GuestPtr pointer, uint64_t length) {
  Result<std::span<std::byte>> bytes = memory.span(pointer, length);
  if (!bytes.ok()) return engine::bad_result(bytes.status().message());
  return bytes;
}

Result<RawFunction> helper(engine::Store& store, const engine::InstanceHandle& instance,
                           std::string_view name, const FuncType& type) {
  const RawFunction function = SPORE_TRY(store.function(instance, name));
  if (function.type() == type) return function;
  return Status::invalid_argument("the guest's '{}' is of type {}, the canonical ABI wants {}", name,
                                  function.type().text(), type.text());
}

}  // namespace

Result<Crossing> Crossing::create(engine::Store& store, const engine::InstanceHandle& instance,
                                  std::string_view name, const FuncType& core, bool text_in, bool text_out) {
  const RawFunction function = SPORE_TRY(store.function(instance, name));
  if (function.type() != core) {
    return Status::invalid_argument("the function '{}' is of type {}, asked for is {}", printable(name),
                                    function.type().text(), core.text());
  }
  Crossing crossing(store, instance, function);
  if ((text_in || text_out) && !store.has_memory(instance)) {
    return Status::invalid_argument("'{}' passes text, but the guest exports no memory 'memory'", name);
  }
  if (text_in) {
    Result<RawFunction> found = helper(store, instance, kRealloc, realloc_type());
    if (!found.ok()) {
      return std::move(found).status().with_context("text is passed by the canonical ABI");
    }
    crossing.realloc_ = found.value();
  }
  if (text_out) {
    const std::string post = fmt::format("cabi_post_{}", name);
    Result<RawFunction> found = helper(store, instance, post, {{ValType::kI32}, {}});
    if (found.ok()) crossing.post_return_ = found.value();
    if (!found.ok() && found.code() != Code::kNotFound) return std::move(found).status();
  }
  return crossing;
}

Status Crossing::lower(std::string_view text, RawValue* values) const {
  if (text.size() > store_->limits().copy_bytes_max || text.size() > UINT32_MAX) {
    return Status::limit_exceeded("an argument of {} bytes (copy_bytes_max={})", text.size(),
                                  store_->limits().copy_bytes_max);
  }
  SPORE_TRY(store_->charge_copy(text.size()));
  RawValue call[4] = {{.i32 = 0}, {.i32 = 0}, {.i32 = 1}, {.i32 = static_cast<int32_t>(text.size())}};
  SPORE_TRY(realloc_->call_unchecked(call, 4));
  const GuestMemory memory = store_->memory_of_this_thread(instance_);
  const std::span<std::byte> target = SPORE_TRY(given_span(memory, guest_ptr(call[0]), text.size()));
  // Not memcpy of nothing: both pointers may be null then.
  if (!text.empty()) std::memcpy(target.data(), text.data(), text.size());
  values[0] = call[0];
  values[1].i32 = static_cast<int32_t>(text.size());
  return {};
}

Result<std::string_view> Crossing::find_text(const RawValue& result) const {
  const GuestMemory memory = store_->memory_of_this_thread(instance_);
  const std::span<std::byte> pair = SPORE_TRY(given_span(memory, guest_ptr(result), 2 * sizeof(uint32_t)));
  uint32_t address_and_length[2];
  std::memcpy(address_and_length, pair.data(), sizeof address_and_length);
  const auto [address, length] = address_and_length;
  if (length > store_->limits().copy_bytes_max) {
    return Status::limit_exceeded("a result of {} bytes (copy_bytes_max={})", length,
                                  store_->limits().copy_bytes_max);
  }
  SPORE_TRY(store_->charge_copy(length));
  const std::span<std::byte> bytes = SPORE_TRY(given_span(memory, {address}, length));
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Status Crossing::free_text(const RawValue& result) const {
  if (!post_return_) return {};
  RawValue argument = result;
  return post_return_->call_unchecked(&argument, 1);
}

ScratchText::ScratchText(std::string_view text) : buffer_(text.size()) {
  // Not memcpy of nothing: both pointers may be null then.
  if (!text.empty()) std::memcpy(buffer_.data(), text.data(), text.size());
}

}  // namespace spore::host

#include "spore/host/crossing.h"

#include <cstring>

#include "spore/base/utf8.h"
#include "spore/host/cabi.h"

namespace spore::host {

using cabi::given_span;
using engine::FuncType;
using engine::GuestMemory;
using engine::GuestPtr;
using engine::RawFunction;
using engine::RawValue;

namespace {

GuestPtr guest_ptr(const RawValue& value) { return {static_cast<uint32_t>(value.i32)}; }

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
    Result<RawFunction> found = cabi::helper(store, instance, cabi::kRealloc, cabi::realloc_type());
    if (!found.ok()) {
      return std::move(found).status().with_context("text is passed by the canonical ABI");
    }
    crossing.realloc_ = found.value();
  }
  if (text_out) crossing.post_return_ = SPORE_TRY(cabi::post_return(store, instance, name));
  return crossing;
}

Status Crossing::lower(std::string_view text, RawValue* values) const {
  if (text.size() > store_->limits().copy_bytes_max || text.size() > UINT32_MAX) {
    return Status::limit_exceeded("an argument of {} bytes (copy_bytes_max={})", text.size(),
                                  store_->limits().copy_bytes_max);
  }
  SPORE_TRY(store_->charge_copy(text.size()));
  const uint32_t address = SPORE_TRY(cabi::allocate(*realloc_, 1, static_cast<uint32_t>(text.size())));
  const GuestMemory memory = store_->memory_of_this_thread(instance_);
  const std::span<std::byte> target = SPORE_TRY(given_span(memory, {address}, text.size()));
  // Not memcpy of nothing: both pointers may be null then.
  if (!text.empty()) std::memcpy(target.data(), text.data(), text.size());
  values[0].i32 = static_cast<int32_t>(address);
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

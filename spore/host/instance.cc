#include "spore/host/instance.h"

#include <cstring>

#include "spore/base/utf8.h"
#include "spore/wasm/prepare.h"

namespace spore::host {

using engine::GuestPtr;
using engine::Store;

namespace {

constexpr std::string_view kInitialize = "_initialize";
constexpr std::string_view kStart = "_start";

// Such names come from outside, and what a prepared module keeps for its host is not for those.
Status check_name(std::string_view name) {
  if (!name.starts_with(wasm::kReservedPrefix)) return {};
  return Status::not_found("no exported function '{}': names that begin with '{}' are reserved",
                           printable(name), wasm::kReservedPrefix);
}

}  // namespace

Result<Instance> Instance::create(const std::shared_ptr<const engine::Binding>& binding,
                                  const engine::Limits& limits, void* user_data, std::unique_ptr<Wasi> wasi,
                                  const engine::MemoryPlan& plan) {
  std::shared_ptr<const engine::Engine> engine = binding->code()->engine().shared_from_this();
  std::shared_ptr<Store> store = SPORE_TRY(Store::create(std::move(engine), limits, user_data));
  store->set_system(std::move(wasi));
  const engine::InstanceHandle handle = SPORE_TRY(store->instantiate(binding, plan));
  return Instance(std::move(store), handle);
}

Result<Instance> Instance::create_linked(std::shared_ptr<const engine::CompiledCode> code,
                                         const std::shared_ptr<const engine::HostFunctions>& functions,
                                         Instance& first, std::span<const Link> others) {
  std::vector<Store::Linked> linked;
  for (const Link& other : others) {
    if (other.instance->store_ != first.store_) {
      return Status::invalid_argument("the instance '{}' was not linked to the others when it was made",
                                      other.name);
    }
    linked.push_back({other.name, other.instance->handle_});
  }
  const engine::InstanceHandle handle =
      SPORE_TRY(first.store_->instantiate_linked(std::move(code), functions, linked));
  return Instance(first.store_, handle);
}

Status Instance::initialize() {
  const engine::CompiledCode::Export* exported = code().exported_function(kInitialize);
  if (exported == nullptr || exported->type != engine::FuncType()) return {};
  const Function<void()> initialize = SPORE_TRY(function<void()>(kInitialize));
  return initialize().with_context(kInitialize);
}

Result<uint32_t> Instance::run_command() {
  const Function<void()> start = SPORE_TRY(function<void()>(kStart));
  Status status = start();
  if (status.ok()) return uint32_t{0};
  if (const std::optional<uint32_t> code = exit_code(status)) return *code;
  return status;
}

Result<DynamicFunction> Instance::dynamic_function(std::string_view name) const {
  SPORE_TRY(check_name(name));
  const engine::RawFunction function = SPORE_TRY(store_->function(handle_, name));
  Result<Signature> signature = Signature::of(function.type());
  if (!signature.ok()) {
    return std::move(signature).status().with_context(
        fmt::format("the function '{}' of type {}", name, function.type().text()));
  }
  return dynamic_function(name, std::move(signature).value());
}

Result<DynamicFunction> Instance::dynamic_function(std::string_view name, Signature signature) const {
  SPORE_TRY(check_name(name));
  return DynamicFunction::create(*store_, handle_, name, std::move(signature));
}

Result<std::string> Instance::read_string(GuestPtr pointer, uint64_t length) const {
  const std::string_view text = SPORE_TRY(store_->memory_of_this_thread(handle_).string(pointer, length));
  return std::string(text);
}

Result<std::vector<std::byte>> Instance::read_bytes(GuestPtr pointer, uint64_t length) const {
  const std::span<std::byte> bytes = SPORE_TRY(store_->memory_of_this_thread(handle_).span(pointer, length));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

Status Instance::write_bytes(GuestPtr pointer, std::span<const std::byte> bytes) {
  const std::span<std::byte> target =
      SPORE_TRY(store_->memory_of_this_thread(handle_).span(pointer, bytes.size()));
  if (!bytes.empty()) std::memcpy(target.data(), bytes.data(), bytes.size());
  return {};
}

Status Instance::write_string(GuestPtr pointer, std::string_view text) {
  return write_bytes(pointer, std::as_bytes(std::span(text)));
}

}  // namespace spore::host

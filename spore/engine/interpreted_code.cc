#include "spore/engine/interpreted_code.h"

#include <string_view>

#include "spore/base/utf8.h"

namespace spore::engine {

Status interpreter_error(const InterpretedFailure& failure) {
  constexpr size_t kMessageBytesMax = 1000;
  const std::string message =
      printable(std::string_view(reinterpret_cast<const char*>(failure.message), failure.message_bytes),
                kMessageBytesMax);
  switch (failure.what) {
    case kFailedInvalid: return Status::invalid_module("not a valid module: {}", message);
    case kFailedUnsupported:
      return Status::unsupported("the interpreter cannot take this module: {}", message);
    case kFailedPanic: return Status::internal("{}", message);
    default: return Status::invalid_argument("{}", message);
  }
}

Result<std::shared_ptr<const InterpretedCode>> InterpretedCode::create(std::span<const uint8_t> wasm,
                                                                       size_t stack_bytes) {
  InterpretedFailure failure{};
  InterpretedModule* module = spore_interpreted_new(wasm.data(), wasm.size(), stack_bytes, &failure);
  if (module == nullptr) return interpreter_error(failure);
  return std::shared_ptr<const InterpretedCode>(new InterpretedCode(module));
}

InterpretedCode::~InterpretedCode() {
  const std::scoped_lock lock(mutex_);
  if (!lost_) spore_interpreted_delete(module_);
}

bool InterpretedCode::enter() const {
  const std::scoped_lock lock(mutex_);
  if (lost_) return false;
  inside_++;
  return true;
}

void InterpretedCode::leave() const {
  const std::scoped_lock lock(mutex_);
  if (inside_ > 0) inside_--;
}

bool InterpretedCode::is_lost() const {
  const std::scoped_lock lock(mutex_);
  return lost_;
}

Status InterpretedCode::lost() {
  return Status::unavailable(
      "another thread was interpreting this module when the process forked: make a new instance of a module "
      "that is loaded anew");
}

}  // namespace spore::engine

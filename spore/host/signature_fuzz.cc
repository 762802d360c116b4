// Any text: signatures and values are refused, or printed and parsed again to the same.

#include <cstdint>
#include <string_view>

#include "spore/host/value.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using spore::host::Signature;
  using spore::host::Value;
  using spore::host::ValueType;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto signature = Signature::parse(text);
  if (signature.ok()) {
    SPORE_ASSERT(Signature::parse(signature->text()).value() == signature.value(), "not the same signature");
    static_cast<void>(signature->core_type());
  }
  for (int type = 0; type <= static_cast<int>(ValueType::kBytes); type++) {
    const auto value = Value::parse(static_cast<ValueType>(type), text);
    if (!value.ok()) continue;
    const auto again = Value::parse(value->type(), value->text());
    // A NaN is not equal to itself; its text is.
    SPORE_ASSERT(again.ok() && again->text() == value->text(), "not the same value");
  }
  return 0;
}

// Any text is a signature or is refused; any bytes behind a module's head are its sections or are refused. Of
// what is taken the core type can be told, and every type's text is parsed to the same type again, if it can
// be written on its own.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spore/host/canonical.h"
#include "spore/wasm/wit.h"

namespace {

void check(const spore::Result<std::vector<spore::wasm::WitExport>>& functions) {
  if (!functions.ok()) return;
  for (const auto& function : functions.value()) {
    if (!function.refused.empty()) continue;
    const std::string text = function.signature.text();
    static_cast<void>(spore::host::WitAbi::create(function.signature));
    if (text.find('{') != std::string::npos || text.size() > 1000) continue;  // names of types of its own
    const auto again = spore::wasm::parse_wit_function(text, "f");
    // A name may be a keyword, which was escaped where it came from.
    if (again.ok()) SPORE_ASSERT(again->signature.text() == text, "not the same signature");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    check(spore::wasm::parse_wit(text, "f"));
    return 0;
  }
  std::vector<uint8_t> module{0, 'a', 's', 'm', 1, 0, 0, 0};
  if (data[0] % 4 == 1) {
    // A custom section that holds the rest.
    constexpr std::string_view kName = "component-type:x";
    const size_t bytes = 1 + kName.size() + text.size();
    module.push_back(0);
    for (size_t rest = bytes, more = 1; more != 0; rest >>= 7U) {
      more = rest >> 7U;
      module.push_back(static_cast<uint8_t>((rest & 0x7fU) | (more != 0 ? 0x80U : 0U)));
    }
    module.push_back(static_cast<uint8_t>(kName.size()));
    module.insert(module.end(), kName.begin(), kName.end());
  }
  module.insert(module.end(), text.begin(), text.end());
  check(spore::wasm::wit_of_module(module));
  return 0;
}

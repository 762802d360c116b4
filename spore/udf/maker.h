#pragma once

// Makes functions of definitions and sources: what registries of any number have in common.

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/function.h"
#include "spore/udf/memo.h"

namespace spore::udf {

struct MakerOptions {
  // Where runtimes/ is, for functions that are source text: a data directory.  Empty: there are none.
  std::filesystem::path home;
  MemoOptions memo;
};

// Thread-safe.  Functions keep what they need of it; it must be gone before the Runtime.
class Maker {
 public:
  Maker(runtime::Runtime& runtime, MakerOptions options);
  ~Maker();
  Maker(const Maker&) = delete;
  Maker& operator=(const Maker&) = delete;

  // All that can be known before the first call is checked: the module, its imports, the signature (both
  // types are in the message), that an instance can be made; of a text that it loads.  What check(),
  // parse_wit, load_module, freeze_program say.  kNotFound: the runtime of the language, and how to get it.
  Result<std::shared_ptr<const Function>> make(const Definition& definition, std::span<const uint8_t> source);

  runtime::Runtime& runtime() { return runtime_; }
  const std::shared_ptr<Memo>& memo() const { return memo_; }

 private:
  class Impl;
  runtime::Runtime& runtime_;
  const MakerOptions options_;
  const std::shared_ptr<Memo> memo_;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace spore::udf

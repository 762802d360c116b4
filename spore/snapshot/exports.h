#pragma once

// What a module exports, to be asked for by name before there is a module.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "spore/base/keyed_hash.h"
#include "spore/wasm/inspect.h"

namespace spore::snapshot {

// Immutable, thread-safe.
class ExportIndex {
 public:
  struct Export {
    std::string name;
    std::string type;  // as wasm::ModuleFacts has it: "func(i32, i64) -> f64", "memory 1..16 pages of 64 KiB"
    uint32_t parameters = 0;  // of a function
    uint32_t results = 0;     // likewise

    bool is_function() const { return type.starts_with("func("); }
    bool operator==(const Export&) const = default;
  };

  static std::shared_ptr<const ExportIndex> create(const wasm::ModuleFacts& facts);
  // Null: two have one name.
  static std::shared_ptr<const ExportIndex> create(std::vector<Export> exports);
  ExportIndex(const ExportIndex&) = delete;
  ExportIndex& operator=(const ExportIndex&) = delete;

  // Null: nothing of that name is exported.  In constant time, whatever names a module chose.
  const Export* find(std::string_view name) const;
  // In the module's order.
  std::span<const Export> all() const { return exports_; }
  size_t size() const { return exports_.size(); }

 private:
  explicit ExportIndex(std::vector<Export> exports);

  std::vector<Export> exports_;
  std::unordered_map<std::string_view, const Export*, KeyedHash> by_name_;  // of exports_
};

// How many values a function of that type takes and gives, as it is written for people; of anything else, 0.
struct Arity {
  uint32_t parameters = 0;
  uint32_t results = 0;
  bool operator==(const Arity&) const = default;
};
Arity arity_of(std::string_view type);

}  // namespace spore::snapshot

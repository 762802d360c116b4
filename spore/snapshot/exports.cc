#include "spore/snapshot/exports.h"

#include <algorithm>
#include <utility>

namespace spore::snapshot {
namespace {

// Values in "i32, (ref null func), i64": what stands between commas that are in no brackets.
uint32_t values_in(std::string_view list) {
  if (list.empty()) return 0;
  uint32_t values = 1;
  int depth = 0;
  for (const char c : list) {
    if (c == '(') depth++;
    if (c == ')') depth--;
    if (c == ',' && depth == 0) values++;
  }
  return values;
}

}  // namespace

Arity arity_of(std::string_view type) {
  constexpr std::string_view kBegin = "func(";
  constexpr std::string_view kArrow = " -> ";
  if (!type.starts_with(kBegin)) return {};
  int depth = 1;
  size_t end = kBegin.size();
  while (end < type.size() && depth > 0) {
    if (type[end] == '(') depth++;
    if (type[end] == ')') depth--;
    end++;
  }
  if (depth > 0) return {};
  const std::string_view parameters = type.substr(kBegin.size(), end - 1 - kBegin.size());
  const std::string_view rest = type.substr(end);
  return {.parameters = values_in(parameters),
          .results = rest.starts_with(kArrow) ? values_in(rest.substr(kArrow.size())) : 0};
}

ExportIndex::ExportIndex(std::vector<Export> exports) : exports_(std::move(exports)) {
  by_name_.reserve(exports_.size());
  for (const Export& entry : exports_) by_name_.emplace(entry.name, &entry);
}

std::shared_ptr<const ExportIndex> ExportIndex::create(std::vector<Export> exports) {
  std::shared_ptr<const ExportIndex> index(new ExportIndex(std::move(exports)));
  if (index->by_name_.size() != index->exports_.size()) return nullptr;
  return index;
}

std::shared_ptr<const ExportIndex> ExportIndex::create(const wasm::ModuleFacts& facts) {
  std::vector<Export> exports;
  exports.reserve(facts.exports.size());
  for (const wasm::ModuleFacts::Export& entry : facts.exports) {
    const Arity arity = arity_of(entry.type);
    exports.push_back(
        {.name = entry.name, .type = entry.type, .parameters = arity.parameters, .results = arity.results});
  }
  return create(std::move(exports));
}

const ExportIndex::Export* ExportIndex::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace spore::snapshot

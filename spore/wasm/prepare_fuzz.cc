// Any bytes: what prepare() takes is valid again, and is what it was but for what the header says.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "spore/wasm/prepare.h"

namespace {

using spore::wasm::ModuleFacts;
using spore::wasm::PreparedModule;

void check_same_interface(const ModuleFacts& before, const ModuleFacts& after) {
  const auto same_import = [](const ModuleFacts::Import& a, const ModuleFacts::Import& b) {
    return a.module == b.module && a.name == b.name && a.type == b.type;
  };
  SPORE_ASSERT(std::ranges::equal(before.imports, after.imports, same_import), "other imports");
  SPORE_ASSERT(after.exports.size() >= before.exports.size(), "an export is gone");
  for (size_t i = 0; i < after.exports.size(); i++) {
    const auto& exported = after.exports[i];
    if (i < before.exports.size()) {
      SPORE_ASSERT(exported.name == before.exports[i].name, "another export");
      SPORE_ASSERT(exported.type == before.exports[i].type, "an export of another type");
    } else {
      SPORE_ASSERT(exported.name.starts_with(spore::wasm::kReservedPrefix), "an export too many");
    }
  }
}

void check_counts(const PreparedModule& module, const ModuleFacts& after) {
  const ModuleFacts& before = module.facts;
  const size_t flags = module.data_flags.size() + module.element_flags.size();
  const size_t state = module.memories.size() + module.tables.size() + module.globals.size();
  const size_t functions = module.table_functions.size() + (before.has_start ? 1 : 0);
  SPORE_ASSERT(after.exports.size() == before.exports.size() + state + flags + functions,
               "not what is listed is exported");
  SPORE_ASSERT(!after.has_start, "it still has a start function");
  SPORE_ASSERT(after.functions == before.functions + module.functions_added, "other functions");
  SPORE_ASSERT(after.globals == before.globals + flags, "other globals");
  SPORE_ASSERT(after.memory_types == before.memory_types && after.tables == before.tables, "other memories");
  SPORE_ASSERT(after.data_segments - before.data_segments <= 1, "other data segments");
  SPORE_ASSERT(after.element_segments - before.element_segments <= 1, "other element segments");
  SPORE_ASSERT(after.custom_bytes == before.custom_bytes, "other custom sections");
  size_t lifted_bytes = 0;
  for (const auto& data : module.lifted) lifted_bytes += data.bytes.size();
  SPORE_ASSERT(after.data_bytes + lifted_bytes == before.data_bytes, "data is lost");
  SPORE_ASSERT(module.lifted.empty() || module.not_lifted.empty(), "lifted, and not");
}

void check_lifted_data_fits(const PreparedModule& module) {
  for (const auto& data : module.lifted) {
    const auto memory = std::ranges::find(module.memories, data.memory, &PreparedModule::Memory::index);
    SPORE_ASSERT(memory != module.memories.end(), "data for a memory of somebody else");
    const auto room = static_cast<unsigned __int128>(memory->pages_min) * memory->page_bytes;
    SPORE_ASSERT(data.bytes.size() <= room && data.offset <= room - data.bytes.size(), "data outside");
  }
}

// Each once and in order, all under their own numbers, and only for tables that code writes to.
void check_table_functions(const PreparedModule& module, const ModuleFacts& after) {
  const std::vector<uint32_t>& functions = module.table_functions;
  SPORE_ASSERT(std::ranges::adjacent_find(functions, std::greater_equal()) == functions.end(),
               "out of order");
  SPORE_ASSERT(functions.empty() || std::ranges::any_of(module.tables, &PreparedModule::Table::written),
               "functions for no table");
  auto exported = after.exports.begin();
  for (const uint32_t function : functions) {
    exported = std::ranges::find(exported, after.exports.end(), PreparedModule::table_function_name(function),
                                 &ModuleFacts::Export::name);
    SPORE_ASSERT(exported != after.exports.end(), "a function of tables is not exported");
    SPORE_ASSERT(exported->type.starts_with("func("), "no function");
  }
  for (const auto& table : module.tables) {
    SPORE_ASSERT(table.changes || !table.written, "written, and constant");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kBytesMax = 1 << 16;  // below what reaches the parser's limits on numbers of things
  if (size > kBytesMax) return 0;
  const auto module = spore::wasm::prepare({data, size}, kBytesMax);
  if (!module.ok()) {
    const bool refused =
        module.code() == spore::Code::kInvalidModule || module.code() == spore::Code::kUnsupported;
    SPORE_ASSERT(refused, module.status().message());
    return 0;
  }
  const auto after = spore::wasm::inspect(module->wasm, size_t{16} << 20);
  SPORE_ASSERT(after.ok(), after.status().message());
  check_same_interface(module->facts, after.value());
  check_counts(module.value(), after.value());
  check_table_functions(module.value(), after.value());
  check_lifted_data_fits(module.value());
  const bool marked = after->exports.size() > module->facts.exports.size();
  SPORE_ASSERT(spore::wasm::prepare(module->wasm, size_t{16} << 20).ok() == !marked, "prepared twice");
  return 0;
}

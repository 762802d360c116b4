#include "spore/engine/types.h"

namespace spore::engine {
namespace {

void append_list(std::string& text, const std::vector<ValType>& types) {
  text += '(';
  for (size_t i = 0; i < types.size(); i++) {
    if (i > 0) text += ", ";
    text += val_type_name(types[i]);
  }
  text += ')';
}

}  // namespace

std::string_view val_type_name(ValType type) {
  switch (type) {
    case ValType::kI32: return "i32";
    case ValType::kI64: return "i64";
    case ValType::kF32: return "f32";
    case ValType::kF64: return "f64";
    case ValType::kV128: return "v128";
    case ValType::kFuncRef: return "funcref";
    case ValType::kOtherRef: return "ref";
  }
  return "unknown";
}

std::string_view extern_kind_name(ExternKind kind) {
  switch (kind) {
    case ExternKind::kFunction: return "function";
    case ExternKind::kGlobal: return "global";
    case ExternKind::kTable: return "table";
    case ExternKind::kMemory: return "memory";
    case ExternKind::kOther: return "other";
  }
  return "unknown";
}

std::string FuncType::text() const {
  std::string text;
  append_list(text, params);
  text += " -> ";
  if (results.size() == 1) {
    text += val_type_name(results[0]);
  } else {
    append_list(text, results);
  }
  return text;
}

}  // namespace spore::engine

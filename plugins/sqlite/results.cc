#include "plugins/sqlite/results.h"

#include <bit>
#include <string>

#include "spore/base/utf8.h"

namespace spore::sqlite {

using host::WitValue;
using wasm::WitKind;
using wasm::WitType;

namespace {

// What json_extract() and its kind know JSON by.
constexpr unsigned kJsonSubtype = 'J';

void set_text(sqlite3_context* context, std::string_view text) {
  sqlite3_result_text64(context, text.data() == nullptr ? "" : text.data(), text.size(), SQLITE_TRANSIENT,
                        SQLITE_UTF8);
}

void set_json(sqlite3_context* context, const WitType& type, const WitValue& value) {
  set_text(context, host::to_json(type, value));
  sqlite3_result_subtype(context, kJsonSubtype);
}

// The guest's own words, which terminals and logs are to survive.
Status error_of(const WitType* type, const WitValue& value) {
  constexpr size_t kMessageBytesMax = 1000;
  if (type == nullptr) return Status::host_error("it gave an error");
  if (type->kind == WitKind::kString)
    return Status::host_error("{}", printable(value.text, kMessageBytesMax));
  return Status::host_error("{}", printable(host::to_json(*type, value), kMessageBytesMax));
}

}  // namespace

void set_number(sqlite3_context* context, const WitType& type, uint64_t bits) {
  switch (type.kind) {
    case WitKind::kF64: return sqlite3_result_double(context, std::bit_cast<double>(bits));
    case WitKind::kF32:
      return sqlite3_result_double(context, std::bit_cast<float>(static_cast<uint32_t>(bits)));
    case WitKind::kU64:
      if (bits > INT64_MAX) return set_text(context, std::to_string(bits));
      break;
    case WitKind::kChar: {
      std::string text;
      append_utf8(static_cast<uint32_t>(bits), text);
      return set_text(context, text);
    }
    case WitKind::kEnum: return set_text(context, type.labels[bits]);
    default: break;
  }
  sqlite3_result_int64(context, static_cast<int64_t>(bits));
}

Status set_result(sqlite3_context* context, const WitType* type, const WitValue& value) {
  if (type == nullptr) {
    sqlite3_result_null(context);
    return {};
  }
  if (host::is_number(type->kind)) {
    set_number(context, *type, value.bits);
    return {};
  }
  switch (type->kind) {
    case WitKind::kString: set_text(context, value.text); return {};
    case WitKind::kBytes:
      sqlite3_result_blob64(context, value.text.data(), value.text.size(), SQLITE_TRANSIENT);
      return {};
    case WitKind::kOption: {
      if (value.bits == 0) return set_result(context, nullptr, {});
      const WitType& part = *type->parts[0];
      const bool plain = part.kind != WitKind::kOption && part.kind != WitKind::kResult;
      if (plain) return set_result(context, &part, value.items[0]);
      set_json(context, part, value.items[0]);
      return {};
    }
    case WitKind::kResult: {
      const WitType* part = type->parts[value.bits].get();
      static const WitValue kNothing;
      const WitValue& inner = value.items.empty() ? kNothing : value.items[0];
      return value.bits == 0 ? set_result(context, part, inner) : error_of(part, inner);
    }
    default: set_json(context, *type, value); return {};
  }
}

}  // namespace spore::sqlite

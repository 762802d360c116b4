#pragma once

// Signatures of functions in WIT, the interface language of the Component Model: what a module or a person
// says that an export takes and gives.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"

namespace spore::wasm {

// In the order in which rust/src/wit.rs tells them.
enum class WitKind : uint8_t {
  kBool,
  kS8,
  kU8,
  kS16,
  kU16,
  kS32,
  kU32,
  kS64,
  kU64,
  kF32,
  kF64,
  kChar,
  kString,
  kBytes,  // list<u8>
  kList,
  kOption,
  kResult,
  kTuple,
  kRecord,
  kEnum,
};

// A type.  Immutable, shared.
struct WitType {
  WitKind kind = WitKind::kBool;
  std::string name;  // of a record or an enum
  // Of a list or option one; of a result two, of which each may be null; of a tuple or record all.
  std::vector<std::shared_ptr<const WitType>> parts;
  std::vector<std::string> labels;  // of a record's fields, or an enum's cases

  // "list<option<f64>>"; records and enums with what is in them: "point {lat: f64, lon: f64}".
  std::string text() const;
  bool operator==(const WitType& other) const;
};
using WitTypeRef = std::shared_ptr<const WitType>;

struct WitParam {
  std::string name;
  WitTypeRef type;
};

struct WitSignature {
  std::vector<WitParam> params;
  WitTypeRef result;  // null: it gives nothing

  // "func(text: string, boost: f64) -> f64"
  std::string text() const;
};

// What an export is said to be.
struct WitExport {
  std::string name;
  WitSignature signature;
  std::string refused;  // why no such function can be called; then the signature is empty
};

inline constexpr size_t kWitTextBytesMax = size_t{64} << 10;

// The functions that a text declares: `func(a: string) -> f64` alone, which is given `name`; the inside of an
// interface, `type bytes = list<u8>` being there already; or a whole document that begins with `package`.
// kInvalidArgument: what is wrong, and where.
Result<std::vector<WitExport>> parse_wit(std::string_view text, std::string_view name);
// The one that is declared under that name, or the only one.  kNotFound names what there is instead;
// kUnsupported: why it cannot be called.
Result<WitExport> parse_wit_function(std::string_view text, std::string_view name);

// What a module tells of its exports, in the sections that bindings generators leave (`component-type...`),
// or in one named `spore:wit` that holds a text as above.  Empty: nothing.  kInvalidModule: it cannot be
// read.
Result<std::vector<WitExport>> wit_of_module(std::span<const uint8_t> module);

// The module with a section `spore:wit` that holds the text, instead of one that it had.  What parse_wit()
// says of the text; kInvalidModule: it is no module.
Result<std::vector<uint8_t>> with_wit(std::span<const uint8_t> module, std::string_view text);

}  // namespace spore::wasm

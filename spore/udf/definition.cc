#include "spore/udf/definition.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "spore/base/json_reader.h"
#include "spore/base/utf8.h"

namespace spore::udf {
namespace {

constexpr std::array<std::string_view, 3> kKinds{"scalar", "aggregate", "table"};
constexpr std::array<std::string_view, 2> kIsolations{"call", "statement"};
constexpr std::array<std::string_view, 6> kCosts{"constant",  "logarithmic", "linear",
                                                 "quadratic", "cubic",       "exponential"};
constexpr std::array<engine::Tier, 4> kTiers{engine::Tier::kInterpreter, engine::Tier::kBaseline,
                                             engine::Tier::kOptimised, engine::Tier::kPeak};

// How one member is read and written.
struct Field {
  std::string_view name;
  bool (*read)(Definition& definition, JsonReader& json);
  void (*write)(const Definition& definition, std::string_view name, JsonWriter& json);
};

template <auto kMember>
constexpr Field text_field(std::string_view name) {
  return {name, [](Definition& definition, JsonReader& json) { return json.string(definition.*kMember); },
          [](const Definition& definition, std::string_view key, JsonWriter& json) {
            json.field(key, definition.*kMember);
          }};
}

template <auto kMember>
constexpr Field bool_field(std::string_view name) {
  return {name,
          [](Definition& definition, JsonReader& json) {
            const std::optional<bool> value = json.boolean();
            definition.*kMember = value.value_or(false);
            return value.has_value();
          },
          [](const Definition& definition, std::string_view key, JsonWriter& json) {
            json.field(key, definition.*kMember);
          }};
}

template <auto kMember>
constexpr Field limit_field(std::string_view name) {
  return {name,
          [](Definition& definition, JsonReader& json) {
            definition.*kMember = {};
            if (json.peek() == JsonReader::Kind::kNull) return json.null();
            const std::optional<std::string_view> text = json.number_text();
            if (!text) return false;
            uint64_t value = 0;
            const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
            if (end != text->data() + text->size() || error != std::errc()) {
              return json.fail("expected a whole number");
            }
            definition.*kMember = value;
            return true;
          },
          [](const Definition& definition, std::string_view key, JsonWriter& json) {
            if (definition.*kMember) json.field(key, *(definition.*kMember));
          }};
}

std::string choices(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
  return text;
}

template <typename Enum, auto kMember, const auto& kNames>
constexpr Field enum_field(std::string_view name) {
  return {name,
          [](Definition& definition, JsonReader& json) {
            std::string text;
            if (!json.string(text)) return false;
            const auto found = std::ranges::find(kNames, text);
            if (found == kNames.end()) return json.fail(fmt::format("expected one of: {},", choices(kNames)));
            definition.*kMember = static_cast<Enum>(found - kNames.begin());
            return true;
          },
          [](const Definition& definition, std::string_view key, JsonWriter& json) {
            json.field(key, kNames[static_cast<size_t>(definition.*kMember)]);
          }};
}

bool read_tier(Definition& definition, JsonReader& json) {
  std::string text;
  if (!json.string(text)) return false;
  const auto found = std::ranges::find(kTiers, text, &engine::tier_name);
  if (found == kTiers.end()) return json.fail("expected the name of a tier");
  definition.tier_max = *found;
  return true;
}

void write_tier(const Definition& definition, std::string_view name, JsonWriter& json) {
  if (definition.tier_max) json.field(name, engine::tier_name(*definition.tier_max));
}

constexpr std::array kFields{
    text_field<&Definition::name>("name"),
    text_field<&Definition::version>("version"),
    text_field<&Definition::description>("description"),
    text_field<&Definition::author>("author"),
    text_field<&Definition::category>("category"),
    text_field<&Definition::language>("language"),
    text_field<&Definition::signature>("signature"),
    text_field<&Definition::export_name>("export"),
    enum_field<FunctionKind, &Definition::kind, kKinds>("kind"),
    bool_field<&Definition::pure>("pure"),
    bool_field<&Definition::innocuous>("innocuous"),
    bool_field<&Definition::variadic>("variadic"),
    bool_field<&Definition::memo>("memo"),
    bool_field<&Definition::enabled>("enabled"),
    enum_field<Isolation, &Definition::isolation, kIsolations>("isolation"),
    enum_field<CostClass, &Definition::cost, kCosts>("cost"),
    Field{"tier_max", &read_tier, &write_tier},
    limit_field<&Definition::deadline_ms>("deadline_ms"),
    limit_field<&Definition::memory_bytes_max>("memory_bytes_max"),
    limit_field<&Definition::copy_bytes_max>("copy_bytes_max"),
    text_field<&Definition::domain>("domain"),
};

bool is_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (name.empty() || name.size() > Definition::kNameBytesMax || !letter(name[0])) return false;
  return std::ranges::all_of(name, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

std::string field_names() {
  std::string names;
  for (const Field& field : kFields) names += fmt::format("{}{}", names.empty() ? "" : ", ", field.name);
  return names;
}

}  // namespace

std::string_view function_kind_name(FunctionKind kind) { return kKinds[static_cast<size_t>(kind)]; }
std::string_view isolation_name(Isolation isolation) { return kIsolations[static_cast<size_t>(isolation)]; }
std::string_view cost_class_name(CostClass cost) { return kCosts[static_cast<size_t>(cost)]; }

Status Definition::check() const {
  if (!is_name(name)) {
    return Status::invalid_argument(
        "'{}' is no name of a function (letters, digits and '_', no digit first, at most {} bytes)",
        printable(name), kNameBytesMax);
  }
  for (const std::string* text :
       {&version, &description, &author, &category, &language, &export_name, &domain}) {
    if (text->size() > kTextBytesMax) {
      return Status::invalid_argument("{}: a text of {} bytes, at most {} are kept", name, text->size(),
                                      kTextBytesMax);
    }
    if (!is_utf8(*text)) return Status::invalid_argument("{}: a text that is not UTF-8", name);
  }
  if (memo && !pure)
    return Status::invalid_argument("{}: results are kept of pure functions alone ('memo' without 'pure')",
                                    name);
  if (memo && kind != FunctionKind::kScalar) {
    return Status::invalid_argument("{}: results are kept of scalar functions alone", name);
  }
  return {};
}

void Definition::write_json(JsonWriter& json) const {
  for (const Field& field : kFields) field.write(*this, field.name, json);
}

Status Definition::apply_json(std::string_view text) {
  Definition changed = *this;
  JsonReader json(text);
  if (!json.begin_object()) return json.take_failure();
  std::string key;
  for (bool first = true; json.next_key(first, key);) {
    const auto found = std::ranges::find(kFields, key, &Field::name);
    if (found == kFields.end()) {
      return Status::invalid_argument("there is no setting '{}' of a function (there are: {})",
                                      printable(key), field_names());
    }
    if (!found->read(changed, json)) return json.take_failure().with_context(key);
  }
  SPORE_TRY(json.finish());
  *this = std::move(changed);
  return {};
}

}  // namespace spore::udf

// The conformance table: languages of guests and types.  A function of each gives back what it gets, so that
// a value crosses both ways, by the canonical ABI or as JSON.  What a cell cannot do stands there with its
// reason.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "spore/project/cases.h"
#include "spore/udf/maker.h"
#include "spore/udf/registry.h"
#include "tests/sanitizers.h"
#include "tests/udf_runtime.h"

namespace spore::test {
namespace {

using host::WitValue;
using wasm::WitKind;

struct Row {
  std::string_view function;
  std::string_view type;
  bool simple;                             // a number, a character, text or bytes
  std::vector<std::string_view> values{};  // beside those that are made at random, as JSON
};

const std::vector<Row>& rows() {
  static const std::vector<Row> kRows{
      {"echo-bool", "bool", true, {"true", "false"}},
      {"echo-s8", "s8", true, {"-128", "127", "0", "-1"}},
      {"echo-u8", "u8", true, {"0", "255"}},
      {"echo-s16", "s16", true, {"-32768", "32767", "-1"}},
      {"echo-u16", "u16", true, {"0", "65535"}},
      {"echo-s32", "s32", true, {"-2147483648", "2147483647"}},
      {"echo-u32", "u32", true, {"0", "4294967295"}},
      {"echo-s64", "s64", true, {"-9223372036854775808", "9223372036854775807"}},
      {"echo-u64", "u64", true, {"0", "18446744073709551615"}},
      {"echo-f32", "f32", true, {"0.1", "-0.0", "3.4028235e38", "1e-45", "Infinity", "-Infinity", "NaN"}},
      {"echo-f64", "f64", true, {"0.1", "-0.0", "1.7976931348623157e308", "5e-324", "Infinity", "NaN"}},
      {"echo-char", "char", true, {R"("a")", R"("\u0000")", R"("é")", R"("😀")", R"("\uffff")"}},
      {"echo-string", "string", true, {R"("")", R"("a\u0000b")", R"("Grüße, 世界 😀")", R"("\"\\\n\t")"}},
      {"echo-bytes", "bytes", true, {R"("")", R"("AAECAwT//g==")"}},
      {"echo-list-s32", "list<s32>", false, {"[]", "[1,-2,2147483647]"}},
      {"echo-list-string", "list<string>", false, {"[]", R"(["","a","é"])"}},
      {"echo-list-item", "list<record>", false, {"[]"}},
      {"echo-option-f64", "option<f64>", false, {"null", "0.5"}},
      {"echo-option-string", "option<string>", false, {"null", R"("")"}},
      {"echo-result", "result<s64, string>", false, {R"({"ok":-5})", R"({"err":"no"})"}},
      {"echo-tuple", "tuple<s32, string>", false, {R"([-1,"x"])"}},
      {"echo-item", "record", false, {R"({"id":1,"name":"a","price":0.5,"tags":["x","y"]})"}},
      {"echo-color", "enum", false, {R"("red")", R"("blue")"}},
      {"echo-nested", "list<option<tuple<string, record>>>", false, {"[null]"}},
      {"many", "20 parameters", false, {}},
  };
  return kRows;
}

class Values {
 public:
  explicit Values(uint64_t seed) : random_(seed) {}

  WitValue make(const wasm::WitType& type, bool json, unsigned depth = 0) {  // NOLINT(misc-no-recursion)
    switch (type.kind) {
      case WitKind::kBool: return WitValue::boolean(below(2) == 1);
      case WitKind::kS8: return WitValue::integer(static_cast<int8_t>(random_()));
      case WitKind::kU8: return WitValue::unsigned_integer(static_cast<uint8_t>(random_()));
      case WitKind::kS16: return WitValue::integer(static_cast<int16_t>(random_()));
      case WitKind::kU16: return WitValue::unsigned_integer(static_cast<uint16_t>(random_()));
      case WitKind::kS32: return WitValue::integer(static_cast<int32_t>(random_()));
      case WitKind::kU32: return WitValue::unsigned_integer(static_cast<uint32_t>(random_()));
      case WitKind::kS64: return WitValue::integer(static_cast<int64_t>(random_()));
      case WitKind::kU64: return WitValue::unsigned_integer(random_());
      case WitKind::kF32: return WitValue::f32(static_cast<float>(number()));
      case WitKind::kF64: return WitValue::f64(number());
      case WitKind::kChar: return WitValue::character(character());
      case WitKind::kString: return WitValue::string(text());
      case WitKind::kBytes: return WitValue::string(bytes());
      case WitKind::kEnum: return WitValue::unsigned_integer(below(type.labels.size()));
      case WitKind::kList: {
        WitValue list;
        for (uint64_t n = below(depth < 2 ? 9 : 3); n > 0; n--)
          list.items.push_back(make(*type.parts[0], json, depth + 1));
        return list;
      }
      case WitKind::kOption:
        return below(3) == 0 ? WitValue::none() : WitValue::some(make(*type.parts[0], json, depth + 1));
      case WitKind::kResult:
        return below(2) == 0 ? WitValue::ok(make(*type.parts[0], json, depth + 1))
                             : WitValue::error(make(*type.parts[1], json, depth + 1));
      default: break;
    }
    WitValue whole;
    for (const auto& part : type.parts) whole.items.push_back(make(*part, json, depth + 1));
    return whole;
  }

 private:
  uint64_t below(uint64_t end) { return random_() % end; }
  double number() {
    return std::ldexp(static_cast<double>(static_cast<int64_t>(random_())),
                      static_cast<int>(below(80)) - 100);
  }
  char32_t character() {
    constexpr std::array<uint32_t, 4> kEnds{0x80, 0x800, 0xd800, 0x110000};
    const auto point = static_cast<uint32_t>(below(kEnds[below(kEnds.size())]));
    return point >= 0xd800 && point < 0xe000 ? U'x' : point;
  }
  std::string text() {
    std::string text;
    for (uint64_t n = below(40); n > 0; n--) append_utf8(character(), text);
    return text;
  }
  std::string bytes() {
    std::string bytes;
    for (uint64_t n = below(60); n > 0; n--) bytes += static_cast<char>(random_());
    return bytes;
  }
  std::mt19937_64 random_;
};

class ConformanceTest : public testing::Test {
 protected:
  // What stands in the cell: "yes", or what is wrong.
  std::string cell(std::string_view language, const Row& row) {
    const bool python = language == "python";
    udf::Definition definition{.name = std::string(row.function)};
    std::ranges::replace(definition.name, '-', '_');
    definition.export_name = python ? "" : std::string(row.function);
    definition.language = python ? "python" : "wasm";
    // Rust's module tells its signatures itself, in the section that its bindings generator left.
    if (language != "rust") definition.signature = signature_of(row.function);
    auto made = functions_.maker->make(definition, source_of(language));
    if (!made.ok()) return std::string(made.status().message());
    if (row.function == "many") return many(*made.value());
    return echoes(*made.value(), row);
  }

 private:
  std::string echoes(const udf::Function& function, const Row& row) {
    const wasm::WitType& type = *function.signature().params[0].type;
    const auto session = function.begin({}, udf::Isolation::kStatement);
    Values random(row.function.size() * 7919 + row.type.size());
    std::vector<WitValue> values;
    for (const std::string_view json : row.values) {
      auto value = host::from_json(type, json);
      if (!value.ok()) return fmt::format("{}: {}", json, value.status().message());
      values.push_back(std::move(value).value());
    }
    const int count = function.definition().language == "wasm" ? 200 : 20;
    for (int i = 0; i < count; i++)
      values.push_back(random.make(type, function.definition().language != "wasm"));
    for (const WitValue& value : values) {
      WitValue result;
      const host::WitArg arg(value);
      const Status status = session->call({&arg, 1}, result);
      if (!status.ok()) return std::string(status.message());
      const std::string sent = host::to_json(type, value);
      const std::string got = host::to_json(*function.signature().result, result);
      if (sent != got) return fmt::format("{} came back as {}", sent, got);
    }
    return "yes";
  }
  static std::string many(const udf::Function& function) {
    const wasm::WitType& item = *function.signature().params[0].type;
    std::vector<WitValue> items;
    for (const char* name : {"x", "y", "z"}) {
      items.push_back(
          host::from_json(item, fmt::format(R"({{"id":7,"name":"{}","price":1.5,"tags":["t"]}})", name))
              .value());
    }
    const std::vector<host::WitArg> args{items[0], items[1], items[2], host::WitArg::string("ü")};
    WitValue result;
    const Status status = function.call(args, result, {});
    if (!status.ok()) return std::string(status.message());
    return result.text == "x+y+z+ü" ? "yes" : result.text;
  }
  std::string signature_of(std::string_view function) {
    const auto text = Functions::source("tests/conformance/conformance.wit");
    const auto all = wasm::parse_wit({reinterpret_cast<const char*>(text.data()), text.size()}, "").value();
    for (const auto& one : all) {
      if (one.name != function) continue;
      // With the types that it names, and itself alone.
      std::string whole(reinterpret_cast<const char*>(text.data()), text.size());
      const size_t types_end = whole.find("echo-bool");
      const size_t begin = whole.find(std::string(function) + ": func");
      return whole.substr(0, types_end) + whole.substr(begin, whole.find('\n', begin) - begin);
    }
    return "";
  }
  std::span<const uint8_t> source_of(std::string_view language) {
    auto& source = sources_[std::string(language)];
    if (source.empty()) {
      source = language == "python" ? Functions::source("tests/conformance/python/conformance.py")
                                    : Functions::built("conformance", language);
    }
    return source;
  }

  Functions functions_;
  std::map<std::string, std::vector<uint8_t>> sources_;
};

TEST_F(ConformanceTest, Table) {
  for (const char* language : {"c", "rust", "go", "assemblyscript"}) {
    if (Functions::built("conformance", language).empty())
      GTEST_SKIP() << "tools/guests.sh has not built the guests";
  }
  std::vector<std::string_view> languages{"c", "rust", "go", "assemblyscript"};
  if (!kSanitized && std::filesystem::exists("/usr/bin/wasm-opt")) languages.emplace_back("python");
  fmt::print("{:<38}", "type");
  for (const std::string_view language : languages) fmt::print("{:<16}", language);
  fmt::print("\n");
  for (const Row& row : rows()) {
    fmt::print("{:<38}", row.type);
    for (const std::string_view language : languages) {
      const bool out = !row.simple && (language == "go" || language == "assemblyscript");
      const std::string said = cell(language, row);
      fmt::print("{:<16}", out ? "no (1)" : language == "python" && said == "yes" ? "JSON" : said);
      if (out) {
        // It is the language's SDK that stops here, and not the host: there is no such function.
        EXPECT_NE(said.find("exports no"), std::string::npos)
            << language << " " << row.function << ": " << said;
      } else {
        EXPECT_EQ(said, "yes") << language << " " << row.function;
      }
    }
    fmt::print("\n");
  }
  fmt::print(
      "(1) its compiler exports functions of numbers alone, and there is no generator of bindings; its "
      "one-file SDK\n"
      "    passes text and bytes.  Resources, streams and async functions cross nowhere.\n");
}

// The example guests: the same three functions in five languages, held to the same tests.
class ExampleGuests : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Languages, ExampleGuests,
                         testing::Values("c", "rust", "go", "assemblyscript", "python"),
                         [](const auto& language) { return std::string(language.param); });

TEST_P(ExampleGuests, AnswerAsTheirTestsSay) {
  const std::string language = GetParam();
  const std::filesystem::path folder = std::filesystem::path(SPORE_SOURCE_DIR "/guests") / language;
  project::Project project{
      .folder = folder, .name = "udf", .language = language, .module = folder / "udf.py"};
  const TemporaryFolder temporary;
  if (language == "python") {
    if (kSanitized || !std::filesystem::exists("/usr/bin/wasm-opt"))
      GTEST_SKIP() << "takes too long, or no wasm-opt";
  } else {
    const std::vector<uint8_t> built = Functions::built("udf", language);
    if (built.empty()) GTEST_SKIP() << "tools/guests.sh has not built the guests";
    project.module = temporary.path() / "udf.wasm";
    // As 'spore build' leaves it.
    const bool told = !wasm::wit_of_module(built).value().empty();
    const auto module = told ? built : wasm::with_wit(built, file_content(folder / "function.wit")).value();
    ASSERT_TRUE(write_file(project.module, module).ok());
  }
  Functions functions;
  udf::Registry registry(*functions.maker);
  const auto tester = project::Tester::create(project, registry);
  ASSERT_TRUE(tester.ok()) << tester.status().message();
  const auto cases = project::parse_cases(file_content(folder / "tests.jsonl")).value();
  EXPECT_GE(cases.size(), 30U);
  for (const project::Case& each : cases) {
    const auto outcome = tester->run(each);
    ASSERT_TRUE(outcome.ok()) << outcome.status().message();
    EXPECT_TRUE(outcome->passed) << "line " << each.line << ": " << outcome->got;
  }
}

}  // namespace
}  // namespace spore::test

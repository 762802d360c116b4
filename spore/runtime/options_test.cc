#include "spore/runtime/options.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace spore::runtime {
namespace {

namespace fs = std::filesystem;
using engine::Tier;

// An environment of our own.
class Environment {
 public:
  Environment(std::initializer_list<std::pair<const std::string, std::string>> values) : values_(values) {}

  std::function<const char*(const char*)> lookup() const {
    return [this](const char* name) -> const char* {
      const auto found = values_.find(name);
      return found == values_.end() ? nullptr : found->second.c_str();
    };
  }

 private:
  std::map<std::string, std::string> values_;
};

const char* nothing(const char* /*name*/) { return nullptr; }

class OptionsFileTest : public testing::Test {
 protected:
  OptionsFileTest() {
    std::string folder = (fs::temp_directory_path() / "options_test.XXXXXX").native();
    home_ = ::mkdtemp(folder.data());
  }
  ~OptionsFileTest() override { fs::remove_all(home_); }

  void write(std::string_view content) const { std::ofstream(home_ / "spore.conf") << content; }
  std::string file() const { return (home_ / "spore.conf").native(); }

  fs::path home_;
};

// What every option prints in its defaults.
std::map<std::string_view, std::string> defaults() {
  const RuntimeOptions options;
  std::map<std::string_view, std::string> values;
  for (const OptionDescription& option : option_descriptions()) values[option.name] = option.get(options);
  return values;
}

Status set(std::string_view name, std::string_view value) {
  RuntimeOptions options;
  return set_option(options, name, value);
}

// --- parse_bytes --------------------------------------------------------------------------------------

TEST(ParseBytesTest, NumbersAndBinaryUnits) {
  EXPECT_EQ(parse_bytes("0").value(), 0u);
  EXPECT_EQ(parse_bytes("1000").value(), 1000u);
  EXPECT_EQ(parse_bytes("64KiB").value(), 65536u);
  EXPECT_EQ(parse_bytes("256 MiB").value(), 256u << 20);
  EXPECT_EQ(parse_bytes("4GiB").value(), uint64_t{4} << 30);
  EXPECT_EQ(parse_bytes(" 5\t KiB").value(), 5120u);
}

// The largest of each unit, and one more.
TEST(ParseBytesTest, SizesEndAt64Bits) {
  EXPECT_EQ(parse_bytes("18446744073709551615").value(), UINT64_MAX);
  EXPECT_EQ(parse_bytes("18014398509481983KiB").value(), UINT64_MAX - 1023);
  EXPECT_EQ(parse_bytes("17592186044415MiB").value(), UINT64_MAX - ((1u << 20) - 1));
  EXPECT_EQ(parse_bytes("17179869183GiB").value(), UINT64_MAX - ((1u << 30) - 1));
  for (const std::string_view text : {"18446744073709551616", "18014398509481984KiB", "17592186044416MiB",
                                      "17179869184GiB", "99999999999999999999999999GiB"}) {
    const auto size = parse_bytes(text);
    EXPECT_EQ(size.code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(size.status().message(), fmt::format("'{}' is not a size (1000, 64KiB, 256MiB, 4GiB)", text));
  }
}

TEST(ParseBytesTest, WhatIsNoSizeIsRefused) {
  for (const std::string_view text : {"", " ", "KiB", "none", "-1", "+1", "1.5MiB", "64KB", "64kib", "64K",
                                      "0x10", "1 2", "64KiBKiB", "64KiB5", "64 Ki B"}) {
    const auto size = parse_bytes(text);
    EXPECT_EQ(size.code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(size.status().message(), fmt::format("'{}' is not a size (1000, 64KiB, 256MiB, 4GiB)", text));
  }
}

// --- the table ----------------------------------------------------------------------------------------

TEST(OptionsTest, EveryOptionHasANameOfItsOwnAndAHelp) {
  std::set<std::string_view> names;
  for (const OptionDescription& option : option_descriptions()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_FALSE(option.help.empty()) << option.name;
    EXPECT_EQ(option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string_view::npos)
        << option.name;
  }
  EXPECT_GE(names.size(), 13u);
}

// What `spore options` prints can be read back: each default sets itself.
TEST(OptionsTest, EveryOptionTakesWhatItGives) {
  RuntimeOptions options;
  for (const auto& [name, value] : defaults()) {
    const Status status = set_option(options, name, value);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  for (const OptionDescription& option : option_descriptions()) {
    EXPECT_EQ(option.get(options), defaults()[option.name]);
  }
}

// Each option set to something else changes itself and no other.
TEST(OptionsTest, EveryOptionSetsItselfAlone) {
  for (const OptionDescription& option : option_descriptions()) {
    const std::string before = defaults()[option.name];
    std::string other = before == "on" ? "off" : before == "off" ? "on" : "77";
    if (option.name == "tier") other = "baseline";
    if (option.name == "peak") other = "manual";
    if (option.name == "pool") continue;  // sets several: see below
    if (option.name == "fault_counter") other = "none";
    if (option.name == "code_cache_eviction") other = "lru";
    if (option.name == "compile_helper") other = "/bin/helper";
    if (option.name == "rewrite_wasm_opt") other = "/bin/wasm-opt";
    if (option.name == "cell_commit") other = "on_sleep";
    if (option.name == "compiler") other = "helper_or_process";
    RuntimeOptions options;
    ASSERT_TRUE(set_option(options, option.name, other).ok()) << option.name;
    for (const OptionDescription& each : option_descriptions()) {
      EXPECT_EQ(each.get(options), each.name == option.name ? other : defaults()[each.name])
          << each.name << " after setting " << option.name;
    }
  }
}

// A preset of pools sets four limits; each can be set again after it.
TEST(OptionsTest, APresetSetsTheLimitsOfPools) {
  RuntimeOptions options;
  ASSERT_TRUE(set_option(options, "pool", "server").ok());
  ASSERT_TRUE(set_option(options, "instances_max", "2000").ok());
  EXPECT_EQ(options.pool.instances_per_module_max, 50u);
  EXPECT_EQ(options.pool.instances_max, 2000u);
  EXPECT_EQ(options.pool.idle_expiry_ms, 300'000u);
  EXPECT_EQ(options.pool.warm_up, 4u);
  EXPECT_EQ(set("pool", "huge").message(),
            "pool: 'huge' is no preset of pools (there are: default, embedded, server, interactive)");
}

TEST(OptionsTest, ValuesReachTheStruct) {
  RuntimeOptions options;
  EXPECT_TRUE(set_option(options, "tier", "baseline").ok());
  EXPECT_EQ(options.tier, Tier::kBaseline);
  EXPECT_TRUE(set_option(options, "tier", "optimised").ok());
  EXPECT_EQ(options.tier, Tier::kOptimised);
  EXPECT_TRUE(set_option(options, "tier", "auto").ok());
  EXPECT_FALSE(options.tier.has_value());
  EXPECT_TRUE(set_option(options, "tier_up_calls", "7").ok());
  EXPECT_EQ(options.tier_up.calls, 7u);
  EXPECT_TRUE(set_option(options, "tier_up_delay_ms", "8").ok());
  EXPECT_EQ(options.tier_up.delay_ms, 8u);
  EXPECT_TRUE(set_option(options, "tier_up_guest_ms", "9").ok());
  EXPECT_EQ(options.tier_up.guest_ms, 9u);
  EXPECT_TRUE(set_option(options, "deadline_ms", "250").ok());
  EXPECT_EQ(options.limits.deadline_ms, 250u);
  EXPECT_TRUE(set_option(options, "deadline_ms", "none").ok());
  EXPECT_EQ(options.limits.deadline_ms, engine::kDeadlineMsMax);
  EXPECT_TRUE(set_option(options, "memory_bytes_max", "1MiB").ok());
  EXPECT_EQ(options.limits.memory_bytes_max, engine::kMebibyte);
  EXPECT_TRUE(set_option(options, "metrics", "false").ok());
  EXPECT_FALSE(options.metrics);
  EXPECT_TRUE(set_option(options, "parallel_compile", "1").ok());
  EXPECT_TRUE(options.parallel_compile);
}

// Counting instructions is compiled into code: to limit them is to switch it on.
TEST(OptionsTest, AFuelLimitSwitchesFuelOn) {
  RuntimeOptions options;
  EXPECT_FALSE(options.fuel);
  EXPECT_TRUE(set_option(options, "fuel_max", "1000").ok());
  EXPECT_TRUE(options.fuel);
  EXPECT_EQ(options.limits.fuel_max, 1000u);
  EXPECT_TRUE(set_option(options, "fuel_max", "0").ok());
  EXPECT_FALSE(options.fuel);
}

TEST(OptionsTest, SmallCountsAreBounded) {
  for (const std::string_view name : {"nesting_max", "memories_max", "tables_max"}) {
    EXPECT_TRUE(set(name, "0").ok());
    EXPECT_TRUE(set(name, "999").ok());
    EXPECT_TRUE(set(name, "1000").ok());
    const Status above = set(name, "1001");
    EXPECT_EQ(above.code(), Code::kInvalidArgument);
    EXPECT_EQ(above.message(), fmt::format("{}: 1001 is more than 1000", name));
    EXPECT_FALSE(set(name, "4294967297").ok());  // 2^32 + 1 must not become 1
  }
}

TEST(OptionsTest, WrongValuesAreToldWithTheOption) {
  const auto message = [](std::string_view name, std::string_view value) {
    const Status status = set(name, value);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(message("tier", "fast"), "tier: 'fast' is none of auto, interpreter, baseline, optimised, peak");
  EXPECT_EQ(message("tier", ""), "tier: '' is none of auto, interpreter, baseline, optimised, peak");
  EXPECT_EQ(message("deadline_ms", "soon"), "deadline_ms: 'soon' is not a whole number");
  EXPECT_EQ(message("deadline_ms", "-1"), "deadline_ms: '-1' is not a whole number");
  EXPECT_EQ(message("deadline_ms", "1s"), "deadline_ms: '1s' is not a whole number");
  EXPECT_EQ(message("modules_max", "18446744073709551616"),
            "modules_max: '18446744073709551616' is not a whole number");
  EXPECT_EQ(message("memory_bytes_max", "1GB"),
            "memory_bytes_max: '1GB' is not a size (1000, 64KiB, 256MiB, 4GiB)");
  EXPECT_EQ(message("metrics", "yes"), "metrics: 'yes' is neither on nor off");
}

TEST(OptionsTest, AWrongValueChangesNothing) {
  RuntimeOptions options;
  for (const OptionDescription& option : option_descriptions()) {
    EXPECT_FALSE(set_option(options, option.name, "?").ok()) << option.name;
    EXPECT_EQ(option.get(options), defaults()[option.name]);
  }
}

TEST(OptionsTest, AnUnknownOptionIsToldWithItsNearest) {
  const auto message = [](std::string_view name) {
    const Status status = set(name, "1");
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(message("deadline_msec"), "there is no option 'deadline_msec' (did you mean 'deadline_ms'?)");
  EXPECT_EQ(message("memory_byte_max"),
            "there is no option 'memory_byte_max' (did you mean 'memory_bytes_max'?)");
  EXPECT_EQ(message("module_max"), "there is no option 'module_max' (did you mean 'modules_max'?)");
  EXPECT_EQ(message("TIER"), "there is no option 'TIER' (did you mean 'tier'?)");
  EXPECT_EQ(message("deadline-ms"), "there is no option 'deadline-ms' (did you mean 'deadline_ms'?)");
}

// --- files --------------------------------------------------------------------------------------------

TEST(OptionsTextTest, LinesCommentsAndSpace) {
  RuntimeOptions options;
  const Status status = apply_options_text(options,
                                           "# all of it\n"
                                           "\n"
                                           "  tier=baseline\n"
                                           "deadline_ms\t=\t500   # half a second\r\n"
                                           "   # nothing here\n"
                                           "memory_bytes_max = 64 KiB#close\n"
                                           "deadline_ms = 600\n"
                                           "metrics = off",
                                           "a.conf");
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(options.tier, Tier::kBaseline);
  EXPECT_EQ(options.limits.deadline_ms, 600u);  // the last one counts
  EXPECT_EQ(options.limits.memory_bytes_max, 65536u);
  EXPECT_FALSE(options.metrics);  // a last line without its newline
}

TEST(OptionsTextTest, NothingIsAFileToo) {
  RuntimeOptions options;
  EXPECT_TRUE(apply_options_text(options, "", "a.conf").ok());
  EXPECT_TRUE(apply_options_text(options, "\n\n#\n", "a.conf").ok());
}

TEST(OptionsTextTest, ErrorsNameFileAndLine) {
  const auto message = [](std::string_view text) {
    RuntimeOptions options;
    const Status status = apply_options_text(options, text, "/etc/spore.conf");
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(message("tier"), "/etc/spore.conf:1: 'tier' is not 'name = value'");
  EXPECT_EQ(message("tier = baseline\n\n# comment\ndeadline = 5\n"),
            "/etc/spore.conf:4: there is no option 'deadline' (did you mean 'deadline_ms'?)");
  EXPECT_EQ(message("\r\ntier = fast\r\n"),
            "/etc/spore.conf:2: tier: 'fast' is none of auto, interpreter, baseline, optimised, peak");
  EXPECT_EQ(message("metrics =\n"), "/etc/spore.conf:1: metrics: '' is neither on nor off");
  EXPECT_EQ(message("deadline_ms = 5 = 6"), "/etc/spore.conf:1: deadline_ms: '5 = 6' is not a whole number");
  EXPECT_TRUE(message("= 5").starts_with("/etc/spore.conf:1: there is no option ''"));
}

// --- environment --------------------------------------------------------------------------------------

TEST(OptionsEnvironmentTest, NamesAreUpperCaseWithAPrefix) {
  const Environment environment{{"SPORE_DEADLINE_MS", "9"},
                                {"SPORE_MEMORY_BYTES_MAX", "1MiB"},
                                {"DEADLINE_MS", "1"},
                                {"SPORE_tier", "?"}};
  RuntimeOptions options;
  EXPECT_TRUE(apply_options_environment(options, environment.lookup()).ok());
  EXPECT_EQ(options.limits.deadline_ms, 9u);
  EXPECT_EQ(options.limits.memory_bytes_max, engine::kMebibyte);
  EXPECT_FALSE(options.tier.has_value());
}

TEST(OptionsEnvironmentTest, EveryOptionIsLookedUp) {
  std::set<std::string> asked;
  RuntimeOptions options;
  EXPECT_TRUE(apply_options_environment(options, [&](const char* name) {
                asked.insert(name);
                return nullptr;
              }).ok());
  EXPECT_EQ(asked.size(), option_descriptions().size());
  EXPECT_TRUE(asked.contains("SPORE_WASM_STACK_BYTES"));
}

TEST(OptionsEnvironmentTest, ErrorsNameTheVariable) {
  RuntimeOptions options;
  const Environment wrong{{"SPORE_METRICS", "maybe"}};
  const Status status = apply_options_environment(options, wrong.lookup());
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message(), "SPORE_METRICS: 'maybe' is neither on nor off");
  const Environment empty{{"SPORE_TIER", ""}};
  EXPECT_EQ(apply_options_environment(options, empty.lookup()).message(),
            "SPORE_TIER: '' is none of auto, interpreter, baseline, optimised, peak");
}

// --- home ---------------------------------------------------------------------------------------------

TEST(HomeDirectoryTest, TheFirstThatIsSetCounts) {
  const Environment all{{"SPORE_HOME", "/s"}, {"XDG_DATA_HOME", "/x"}, {"HOME", "/h"}};
  EXPECT_EQ(home_directory("/f", all.lookup()).value(), "/f");
  EXPECT_EQ(home_directory("", all.lookup()).value(), "/s");
  const Environment no_spore{{"XDG_DATA_HOME", "/x"}, {"HOME", "/h"}};
  EXPECT_EQ(home_directory("", no_spore.lookup()).value(), "/x/spore");
  const Environment no_xdg{{"HOME", "/h"}};
  EXPECT_EQ(home_directory("", no_xdg.lookup()).value(), "/h/.local/share/spore");
}

TEST(HomeDirectoryTest, AnEmptyVariableIsNotSet) {
  const Environment empty{{"SPORE_HOME", ""}, {"XDG_DATA_HOME", ""}, {"HOME", "/h"}};
  EXPECT_EQ(home_directory("", empty.lookup()).value(), "/h/.local/share/spore");
}

TEST(HomeDirectoryTest, WithoutAnyOfThemThereIsNone) {
  const auto home = home_directory("", nothing);
  EXPECT_EQ(home.code(), Code::kInvalidArgument);
  EXPECT_EQ(home.status().message(), "no data directory: set --home, SPORE_HOME, XDG_DATA_HOME or HOME");
}

// --- all of it ----------------------------------------------------------------------------------------

TEST_F(OptionsFileTest, WithoutAFileTheDefaultsHold) {
  const RuntimeOptions options = load_options(home_, nothing).value();
  for (const OptionDescription& option : option_descriptions()) {
    EXPECT_EQ(option.get(options), defaults()[option.name]);
  }
  EXPECT_TRUE(load_options(home_ / "missing" / "folder", nothing).ok());
}

TEST_F(OptionsFileTest, TheEnvironmentGoesOverTheFile) {
  write("deadline_ms = 100\nmodules_max = 5\n");
  const Environment environment{{"SPORE_DEADLINE_MS", "200"}};
  const RuntimeOptions options = load_options(home_, environment.lookup()).value();
  EXPECT_EQ(options.limits.deadline_ms, 200u);  // environment over file
  EXPECT_EQ(options.modules_max, 5u);           // file over default
  EXPECT_EQ(options.limits.nesting_max, 4u);    // default
}

TEST_F(OptionsFileTest, AHomeIsAlsoWhereCodeIsKept) {
  write("modules_max = 5\n");
  const Environment environment{{"SPORE_DEADLINE_MS", "200"}};
  const RuntimeOptions options = home_options(home_, environment.lookup(), {.fuel = true}).value();
  EXPECT_EQ(options.limits.deadline_ms, 200u);
  EXPECT_EQ(options.modules_max, 5u);
  EXPECT_TRUE(options.fuel);
  EXPECT_EQ(options.code_cache.directory, code::code_cache_options(home_).directory);
  EXPECT_EQ(options.code_cache.key_file, code::code_cache_options(home_).key_file);
}

TEST_F(OptionsFileTest, WithoutAHomeTheEnvironmentHolds) {
  const Environment environment{{"SPORE_DEADLINE_MS", "200"}};
  const RuntimeOptions options = home_options({}, environment.lookup(), {}).value();
  EXPECT_EQ(options.limits.deadline_ms, 200u);
  EXPECT_TRUE(options.code_cache.directory.empty());
}

TEST_F(OptionsFileTest, AWrongFileIsToldByItsPath) {
  write("\nmodules = 5\n");
  const auto options = load_options(home_, nothing);
  EXPECT_EQ(options.code(), Code::kInvalidArgument);
  EXPECT_EQ(options.status().message(),
            fmt::format("{}:2: there is no option 'modules' (did you mean 'modules_max'?)", file()));
  write("modules_max = 5\n");
  EXPECT_EQ(load_options(home_, nothing).value().modules_max, 5u);
}

TEST_F(OptionsFileTest, AFileThatCannotBeReadIsNotPassedOver) {
  fs::create_directory(file());
  const auto folder = load_options(home_, nothing);
  EXPECT_EQ(folder.code(), Code::kInvalidArgument);
  EXPECT_EQ(folder.status().message(), fmt::format("'{}' is not a regular file", file()));
}

// One mebibyte of comment is a file, one byte more is a mistake.
TEST_F(OptionsFileTest, FilesHaveALargestSize) {
  write(std::string(1 << 20, '#'));
  EXPECT_TRUE(load_options(home_, nothing).ok());
  write(std::string((1 << 20) + 1, '#'));
  EXPECT_EQ(load_options(home_, nothing).code(), Code::kLimitExceeded);
}

}  // namespace
}  // namespace spore::runtime

#include "spore/base/metrics.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace spore {
namespace {

// The value of a family's only sample, as it is written.
template <typename T>
std::string written(T value) {
  MetricsWriter metrics;
  const std::string text = metrics.gauge("m", "").sample(value).take();
  const std::string before = "# HELP m \n# TYPE m gauge\nm ";
  EXPECT_TRUE(text.starts_with(before) && text.ends_with('\n')) << text;
  return text.substr(before.size(), text.size() - before.size() - 1);
}

TEST(MetricsTest, AFamilyIsWrittenOnceWithAllItsSamples) {
  MetricsWriter metrics;
  metrics.counter("spore_calls_total", "Calls that ended.")
      .sample({{"module", "rank"}, {"outcome", "ok"}}, 17)
      .sample({{"module", "rank"}, {"outcome", "trap"}}, 0);
  metrics.gauge("spore:uptime_seconds", "Time since the start.").sample(2.5);
  metrics.gauge("spore_modules", "Modules that are loaded.");
  EXPECT_EQ(metrics.take(),
            "# HELP spore_calls_total Calls that ended.\n"
            "# TYPE spore_calls_total counter\n"
            "spore_calls_total{module=\"rank\",outcome=\"ok\"} 17\n"
            "spore_calls_total{module=\"rank\",outcome=\"trap\"} 0\n"
            "# HELP spore:uptime_seconds Time since the start.\n"
            "# TYPE spore:uptime_seconds gauge\n"
            "spore:uptime_seconds 2.5\n"
            "# HELP spore_modules Modules that are loaded.\n"
            "# TYPE spore_modules gauge\n");
}

TEST(MetricsTest, TakingTheTextLeavesAnEmptyWriter) {
  MetricsWriter metrics;
  EXPECT_EQ(metrics.take(), "");
  const std::string first = metrics.gauge("m", "help").sample(1).take();
  EXPECT_EQ(metrics.gauge("m", "help").sample(1).take(), first);
}

// In values of labels backslash, quote and newline are escaped, and nothing else is.
TEST(MetricsTest, LabelsAreEscaped) {
  MetricsWriter metrics;
  metrics.gauge("m", "").sample(
      {{"path", "C:\\new\n\"dir\"\\"}, {"empty", ""}, {"rest", "\t{a=1},# \xC3\xA9"}}, 1);
  EXPECT_EQ(metrics.take(),
            "# HELP m \n"
            "# TYPE m gauge\n"
            "m{path=\"C:\\\\new\\n\\\"dir\\\"\\\\\",empty=\"\",rest=\"\t{a=1},# \xC3\xA9\"} 1\n");
}

// In help quotes stand for themselves.
TEST(MetricsTest, HelpIsEscaped) {
  MetricsWriter metrics;
  metrics.gauge("m", "one\\two\n\"three\"\n");
  EXPECT_EQ(metrics.take(),
            "# HELP m one\\\\two\\n\"three\"\\n\n"
            "# TYPE m gauge\n");
}

// Names of modules come from outside: whatever they are, the text is UTF-8 and has no further line.
TEST(MetricsTest, BytesThatAreNotUtf8AreReplaced) {
  MetricsWriter metrics;
  metrics.gauge("m", "a\xFFz").sample({{"name", "\xC3\"\x80\n"}}, 1);
  EXPECT_EQ(metrics.take(),
            "# HELP m a\xEF\xBF\xBDz\n"
            "# TYPE m gauge\n"
            "m{name=\"\xEF\xBF\xBD\\\"\xEF\xBF\xBD\\n\"} 1\n");
}

TEST(MetricsTest, IntegersKeepAllTheirDigits) {
  EXPECT_EQ(written(UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(written(uint64_t{9007199254740993}), "9007199254740993");  // which no double is
  EXPECT_EQ(written(INT64_MIN), "-9223372036854775808");
  EXPECT_EQ(written(uint8_t{65}), "65");
  EXPECT_EQ(written(0), "0");
}

// The shortest text that is read as the same number again.
TEST(MetricsTest, DoublesAreReadBackAsTheSame) {
  EXPECT_EQ(written(0.1), "0.1");
  EXPECT_EQ(written(1.0), "1");
  EXPECT_EQ(written(-2.5e-7), "-2.5e-07");
  for (const double value : {0.1 + 0.2, 1.0 / 3, 5e-324, 1e22, 1.7976931348623157e308, -0.0}) {
    const std::string text = written(value);
    const double read = std::strtod(text.c_str(), nullptr);
    EXPECT_EQ(read, value) << text;
    EXPECT_EQ(std::signbit(read), std::signbit(value)) << text;
  }
}

TEST(MetricsTest, WhatIsNoNumberHasTheNamesOfTheFormat) {
  EXPECT_EQ(written(std::numeric_limits<double>::quiet_NaN()), "NaN");
  EXPECT_EQ(written(std::numeric_limits<double>::infinity()), "+Inf");
  EXPECT_EQ(written(-std::numeric_limits<double>::infinity()), "-Inf");
}

TEST(MetricsDeathTest, BadNamesAndFamiliesThatAreBegunTwiceAreBugs) {
  for (const char* name : {"", "0m", "a-b", "a b", "a{", "\xC3\xA9"}) {
    EXPECT_DEATH(MetricsWriter().gauge(name, ""), "not the name of a metric") << name;
    EXPECT_DEATH(MetricsWriter().gauge("m", "").sample({{name, "x"}}, 1), "not the name of a label") << name;
  }
  for (const char* name : {"a:b", "__name__"}) {
    EXPECT_DEATH(MetricsWriter().gauge("m", "").sample({{name, "x"}}, 1), "not the name of a label") << name;
  }
  EXPECT_DEATH(MetricsWriter().gauge("m", "").counter("m", ""), "begun twice");
  EXPECT_DEATH(MetricsWriter().sample(1), "without a metric family");
}

}  // namespace
}  // namespace spore

#include "spore/base/log.h"

#include <array>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace spore {
namespace {

constexpr std::array kLevels{LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError};

TEST(LogTest, EveryLevelHasItsName) {
  EXPECT_EQ(log_level_name(LogLevel::kDebug), "debug");
  EXPECT_EQ(log_level_name(LogLevel::kInfo), "info");
  EXPECT_EQ(log_level_name(LogLevel::kWarning), "warning");
  EXPECT_EQ(log_level_name(LogLevel::kError), "error");
  EXPECT_EQ(log_level_name(LogLevel::kOff), "off");
}

// A library in somebody's server is silent unless it is told to speak.
TEST(LogTest, TheDefaultWritesNothing) {
  const Log log;
  testing::internal::CaptureStderr();
  for (const LogLevel level : kLevels) {
    EXPECT_FALSE(log.enabled(level));
    log.write(level, "lost");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// All pairs of threshold and level: below it nothing, at it and above everything.
TEST(LogTest, TheThresholdIsInclusive) {
  for (const LogLevel threshold : kLevels) {
    std::vector<LogLevel> seen;
    const Log log(threshold, [&](LogLevel level, std::string_view) { seen.push_back(level); });
    std::vector<LogLevel> expected;
    for (const LogLevel level : kLevels) {
      log.write(level, "line");
      if (level >= threshold) expected.push_back(level);
      EXPECT_EQ(log.enabled(level), level >= threshold);
    }
    EXPECT_EQ(seen, expected);
  }
}

TEST(LogTest, OffIsAboveEveryLevel) {
  const Log log(LogLevel::kOff, [](LogLevel, std::string_view line) { ADD_FAILURE() << line; });
  for (const LogLevel level : kLevels) log.write(level, "lost");
}

TEST(LogTest, LinesAreFormattedAndArgumentsAreNot) {
  std::string seen;
  const Log log(LogLevel::kInfo, [&](LogLevel, std::string_view line) { seen = line; });
  log.write(LogLevel::kInfo, "{} of {}: {}", 1, "two", "{guest text}");
  EXPECT_EQ(seen, "1 of two: {guest text}");
}

TEST(LogTest, CopiesShareTheSink) {
  int lines = 0;
  Log copy;
  {
    const Log log(LogLevel::kInfo, [&](LogLevel, std::string_view) { lines++; });
    copy = log;
    log.write(LogLevel::kInfo, "first");
  }
  copy.write(LogLevel::kInfo, "second");  // the sink outlives the Log it came with
  EXPECT_EQ(lines, 2);
}

TEST(LogTest, TheStandardErrorSinkWritesOneWholeLine) {
  const Log log(LogLevel::kWarning, stderr_sink());
  testing::internal::CaptureStderr();
  log.write(LogLevel::kInfo, "not this");
  log.write(LogLevel::kWarning, "disk {} % full", 93);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "spore: warning: disk 93 % full\n");
}

}  // namespace
}  // namespace spore

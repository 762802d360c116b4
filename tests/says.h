#pragma once

// What a text or a failure says.

#include <initializer_list>
#include <string_view>

#include <gtest/gtest.h>

#include "spore/base/status.h"

namespace spore::test {

inline testing::AssertionResult has(std::string_view text, std::string_view part) {
  if (text.find(part) != std::string_view::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << part << "' is not in:\n" << text;
}

inline void expect_says(const Status& status, Code code, std::initializer_list<std::string_view> words) {
  EXPECT_EQ(status.code(), code) << status.message();
  for (const std::string_view word : words) {
    EXPECT_NE(status.message().find(word), std::string_view::npos)
        << "no '" << word << "' in: " << status.message();
  }
}

}  // namespace spore::test

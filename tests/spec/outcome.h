#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace spore::spec {

// What became of one directive.
struct Outcome {
  enum class Kind : uint8_t { kPassed, kFailed, kSkipped, kTextOnly };
  Kind kind = Kind::kPassed;
  std::string reason;  // why it failed or was skipped

  static Outcome passed() { return {}; }
  static Outcome failed(std::string reason) { return {Kind::kFailed, std::move(reason)}; }
  static Outcome skipped(std::string reason) { return {Kind::kSkipped, std::move(reason)}; }
  // A test of the text format alone: the extractor has seen to it.
  static Outcome text_only() { return {Kind::kTextOnly, {}}; }

  bool ok() const { return kind == Kind::kPassed; }
};

// Outcomes of a file, a group or the whole suite.
struct Counts {
  size_t files = 0;
  size_t files_whole = 0;  // nothing in them failed or was skipped
  size_t passed = 0;
  size_t failed = 0;
  size_t text_only = 0;
  std::map<std::string, size_t> skipped;  // by reason

  size_t skipped_total() const;
  void add(const Outcome& outcome);
  void add(const Counts& other);
};

}  // namespace spore::spec

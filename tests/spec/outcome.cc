#include "tests/spec/outcome.h"

namespace spore::spec {

size_t Counts::skipped_total() const {
  size_t total = 0;
  for (const auto& [reason, count] : skipped) total += count;
  return total;
}

void Counts::add(const Outcome& outcome) {
  switch (outcome.kind) {
    case Outcome::Kind::kPassed: passed++; break;
    case Outcome::Kind::kFailed: failed++; break;
    case Outcome::Kind::kSkipped: skipped[outcome.reason]++; break;
    case Outcome::Kind::kTextOnly: text_only++; break;
  }
}

void Counts::add(const Counts& other) {
  files += other.files;
  files_whole += other.files_whole;
  passed += other.passed;
  failed += other.failed;
  text_only += other.text_only;
  for (const auto& [reason, count] : other.skipped) skipped[reason] += count;
}

}  // namespace spore::spec

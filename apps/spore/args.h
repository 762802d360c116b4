#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"

namespace spore::cli {

// A flag that a command takes: --name, or --name VALUE.
struct Flag {
  std::string_view name;   // with its dashes
  std::string_view value;  // what the value is called in help; empty: none
  std::string_view help;
};

// The words of one command line, taken apart by what the command says it knows.  Every error is
// kInvalidArgument: the user misused us.
class Args {
 public:
  // `words` come after the command's own.  Flags may stand anywhere before "--"; what begins with a dash
  // and a digit is a number, not a flag.
  static Result<Args> parse(std::span<const std::string_view> words, std::span<const Flag> flags);

  bool has(std::string_view flag) const { return value_of(flag).has_value(); }
  // The last value given for the flag.
  std::optional<std::string_view> value_of(std::string_view flag) const;
  // All of them, in order.
  std::vector<std::string_view> values_of(std::string_view flag) const;
  // The next word that is no flag.
  Result<std::string_view> positional(std::string_view what);
  std::vector<std::string_view> rest();
  // An error if a word was not asked for.
  Status finish() const;

 private:
  std::vector<std::pair<std::string_view, std::string_view>> flags_;
  std::vector<std::string_view> positionals_;
  size_t next_ = 0;
};

}  // namespace spore::cli

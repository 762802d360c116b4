#include "apps/spore/args.h"

#include <algorithm>

namespace spore::cli {
namespace {

bool is_flag(std::string_view word) {
  if (word.size() < 2 || word[0] != '-') return false;
  const char second = word[1];
  const bool number = (second >= '0' && second <= '9') || second == '.' || word == "-inf" ||
                      word == "-infinity" || word == "-nan";
  return !number;
}

}  // namespace

Result<Args> Args::parse(std::span<const std::string_view> words, std::span<const Flag> flags) {
  Args args;
  bool flags_end = false;
  for (size_t i = 0; i < words.size(); i++) {
    const std::string_view word = words[i];
    if (!flags_end && word == "--") {
      flags_end = true;
      continue;
    }
    if (flags_end || !is_flag(word)) {
      args.positionals_.push_back(word);
      continue;
    }
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const auto known = std::ranges::find(flags, name, &Flag::name);
    if (known == flags.end()) return Status::invalid_argument("unknown flag '{}'", name);
    std::string_view value;
    if (equals != std::string_view::npos) {
      if (known->value.empty()) return Status::invalid_argument("the flag '{}' takes no value", name);
      value = word.substr(equals + 1);
    } else if (!known->value.empty()) {
      if (i + 1 == words.size()) {
        return Status::invalid_argument("the flag '{}' needs a value: {} {}", name, name, known->value);
      }
      value = words[++i];
    }
    args.flags_.emplace_back(known->name, value);
  }
  return args;
}

std::optional<std::string_view> Args::value_of(std::string_view flag) const {
  const auto found =
      std::find_if(flags_.rbegin(), flags_.rend(), [&](const auto& given) { return given.first == flag; });
  if (found == flags_.rend()) return std::nullopt;
  return found->second;
}

std::vector<std::string_view> Args::values_of(std::string_view flag) const {
  std::vector<std::string_view> values;
  for (const auto& [name, value] : flags_) {
    if (name == flag) values.push_back(value);
  }
  return values;
}

Result<std::string_view> Args::positional(std::string_view what) {
  if (next_ == positionals_.size()) return Status::invalid_argument("{} is missing", what);
  return positionals_[next_++];
}

std::vector<std::string_view> Args::rest() {
  std::vector<std::string_view> words(positionals_.begin() + static_cast<ptrdiff_t>(next_),
                                      positionals_.end());
  next_ = positionals_.size();
  return words;
}

Status Args::finish() const {
  if (next_ == positionals_.size()) return {};
  return Status::invalid_argument("unexpected '{}'", positionals_[next_]);
}

}  // namespace spore::cli

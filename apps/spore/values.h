#pragma once

// Arguments and results of functions, as words.

#include <span>
#include <string_view>
#include <vector>

#include "apps/spore/args.h"
#include "spore/base/status.h"
#include "spore/host/value.h"

namespace spore::cli {

// kInvalidArgument: not so many, or which of them is none of its type.
Result<std::vector<host::Value>> parse_values(const host::Signature& signature,
                                              std::span<const std::string_view> words);
// One a line, or with --json as an object.
void print_results(const Args& args, std::span<const host::Value> results, double microseconds);

}  // namespace spore::cli

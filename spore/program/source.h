#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spore/base/hash.h"
#include "spore/snapshot/contents.h"

namespace spore::program {

// What a frozen module was made of: what its file has to hold beside the image.
struct Source {
  std::shared_ptr<const std::vector<uint8_t>> wasm;  // that was prepared; after it was rewritten, if it was
  std::optional<Digest> original;                    // before
  std::string rewriter;                              // by what: "binaryen 108"
  std::string rewriter_arguments;
  std::vector<snapshot::HotRun> hot_set{};  // Program::hot_set(); empty: nobody looked
};

}  // namespace spore::program

#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "apps/spore/args.h"
#include "spore/base/status.h"
#include "spore/runtime/options.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/proofs.h"

namespace spore::cli {

// An image from a file.
struct ImageFile {
  snapshot::Contents contents;
  std::optional<snapshot::Contents> base;  // that it is derived from
};

// In the data directory.  Null: there is none, or no key in it.
std::unique_ptr<snapshot::Proofs> open_proofs(const Args& args);

// Whoever made an image need not prove it.
void remember_made(const Args& args, const Digest& image);

// The base of a derived image is where --base says, or else where the image does.  What snapshot::read says.
Result<ImageFile> read_image(const Args& args, const std::filesystem::path& path);

// The same, where --base means another file's.
Result<ImageFile> read_image_alone(const Args& args, const std::filesystem::path& path);

// Sets what the preset of --preset says, or else the image's default one, if it has any.  kNotFound names
// those that there are; kInvalidArgument: an option that this build does not know.
Status apply_preset(const Args& args, const snapshot::Presets& presets, runtime::RuntimeOptions& options);

// What a file holds, if it is an image, or else what its module is after its initialisation.
Result<snapshot::Contents> image_in(const Args& args, std::string_view file);

}  // namespace spore::cli

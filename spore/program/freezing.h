#pragma once

// What freezing programs and libraries has in common.  Internal to program/.

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/cell/blueprint.h"
#include "spore/cell/image.h"
#include "spore/host/wasi.h"
#include "spore/program/source.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/writer.h"
#include "spore/wasm/inspect.h"

namespace spore::program {

// A new instance that is to be frozen, complete; its initialisation draws random numbers or may not.
Result<host::Instance> instantiate(const cell::Blueprint& blueprint, const engine::Limits& limits,
                                   host::Wasi::Entropy entropy);

// kUnsupported: not all of its state can be held, with the reasons.
Status check_holdable(const cell::Blueprint& blueprint);

// kInvalidArgument: it exports something of that name that is no function of no parameters and no results.
Status check_hook(const wasm::ModuleFacts& facts, std::string_view name);

// For the end of a message: "; its last words: ...", or nothing.
std::string last_words(std::string_view standard_error);
// The same status, its detail with the last words.
Status with_words(Status status, std::string_view standard_error);

// kUnavailable: a file that a frozen module had open is not there as it was.
Status check_files(std::span<const host::Wasi::Lost> lost);

// Writes an image.  `origin` is completed from the source and the time.
Result<Digest> save_image(const cell::Image& image, const Source& source, snapshot::Origin origin,
                          const std::filesystem::path& path, const snapshot::WriteOptions& options);

}  // namespace spore::program

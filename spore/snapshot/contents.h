#pragma once

// What a snapshot holds: an image, its module, and how it came to be.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/cell/blueprint.h"
#include "spore/cell/image.h"
#include "spore/code/profile.h"
#include "spore/host/wasi.h"
#include "spore/snapshot/exports.h"
#include "spore/snapshot/file_identity.h"
#include "spore/snapshot/statistics.h"
#include "spore/wasm/prepare.h"

namespace spore::snapshot {

// How a request is told to a program.
enum class Framing : uint8_t {
  kNone,        // it is no program, or takes none
  kLines,       // a line
  kLength,      // a length, and so many bytes
  kEndOfInput,  // all that there is to read
};
std::string_view framing_name(Framing framing);  // "none", "lines", "length", "eof"

// The highest tier that a module may climb to when it is loaded from a file.
enum class TierMax : uint8_t {
  kNone,        // the interpreter
  kBasic,       // baseline code
  kAggressive,  // optimised code
  kMax,         // any
};
std::string_view tier_max_name(TierMax tier_max);  // "none", "basic", "aggressive", "max"
// kInvalidArgument names them.
Result<TierMax> parse_tier_max(std::string_view name);

struct Manifest {
  std::string name;        // of the module, for messages
  std::string domain;      // the trust domain that it belongs to
  uint64_t created_s = 0;  // since 1970
  std::string spore_version;
  std::string engine_version;
  Digest original;                 // the module as its user gave it
  std::string rewriter;            // what rewrote it then, "binaryen 108"; empty: nothing did
  std::string rewriter_arguments;  // with which it did
  Digest module;                   // what was prepared: the source
  Digest prepared;                 // what it became
  uint32_t preparer = 0;
  std::string entry;  // the export that is called for a request; empty: any
  Framing framing = Framing::kNone;
  uint64_t entropy_bytes = 0;             // drawn at random until then: the same in all that start from it
  std::optional<host::WasiOptions> wasi;  // its world
  TierMax tier_max = TierMax::kMax;
  // Whether the module is in the file, or named by its hash alone.  When it is written, WriteOptions says so.
  bool with_module = true;
  // Of a derived image: where its base was when it was written, from the folder of this file.  A hint.
  std::optional<std::string> base_file;
};

// Of a program that stands in the middle of a call.
struct Frames {
  uint64_t address = 0;           // of the buffer in memory 0 where its frames are
  std::vector<uint8_t> borrowed;  // what was there, to be put back when the call goes on
  // The functions that can be stopped, ascending; nothing: all that can come to a wait.
  std::optional<std::vector<uint32_t>> functions{};
  bool operator==(const Frames&) const = default;
};

// Pages that a request used when it was looked at: a hint to whoever makes instances ready.
struct HotRun {
  static constexpr uint32_t kRead = 1;
  static constexpr uint32_t kWritten = 2;
  uint32_t memory = 0;
  uint32_t flags = kRead;  // of these
  uint64_t first = 0;      // page of 4096 bytes
  uint64_t pages = 0;
  bool operator==(const HotRun&) const = default;
};

// How instances of an image are meant to be kept and limited, by name.
struct Presets {
  static constexpr size_t kPresetsMax = 32;
  static constexpr size_t kNameBytesMax = 64;
  static constexpr size_t kOptionsMax = 64;  // of each
  static constexpr size_t kOptionBytesMax = 1024;
  struct Preset {
    std::string name;
    std::vector<std::string> options;  // "name=value", as runtime::set_option takes them
    bool operator==(const Preset&) const = default;
  };
  std::vector<Preset> list;
  uint32_t default_preset = 0;  // its place

  bool empty() const { return list.empty(); }
  // Null: there is none of that name.
  const Preset* find(std::string_view name) const;
  bool operator==(const Presets&) const = default;
};

struct Contents {
  Digest id;            // of the file that it was read from,
  bool proved = false;  // and whether its facts were proved then
  // That file, if all of its hashes were compared while it was so: by this it can be told again (Proofs).
  std::optional<FileIdentity> file;
  // The id of the image that it is derived from.  Those of its pages that are that one's are not in its file,
  // and nor is the module; they are shared in memory, too.
  std::optional<Digest> base;
  Manifest manifest;
  cell::Image::Parts image;
  std::optional<Frames> frames;
  // What was seen of the module until the image was written: a hint to whoever loads it.  A derived image has
  // its own, or none.
  std::optional<code::Profile> profile;
  std::vector<HotRun> hot_set;  // ascending; empty: nobody looked
  Presets presets;
  std::shared_ptr<const wasm::PreparedModule> prepared;
  // The module that was prepared: what `prepared` can be proved by.
  std::shared_ptr<const std::vector<uint8_t>> source;
  std::shared_ptr<const ExportIndex> exports;  // of the module
  LoadStatistics load;                         // how they were read
};

// What is known of an image by those alone who made it.
struct Origin {
  std::string domain;
  uint64_t created_s = 0;
  std::optional<Digest> original;  // if there was a rewriter
  std::string rewriter;
  std::string rewriter_arguments;
  std::string entry;
  Framing framing = Framing::kNone;
  uint64_t entropy_bytes = 0;
  std::optional<Frames> frames;
  std::optional<code::Profile> profile;
  std::vector<HotRun> hot_set{};
  Presets presets{};
  TierMax tier_max = TierMax::kMax;
  // For a derived image, whose memories stand on those of the image in that file.
  struct Base {
    Digest id;
    std::string file;
  };
  std::optional<Base> base;
};

// An image as what can be written.  `source`: the module that its blueprint's was prepared of; it is prepared
// again where the blueprint does not keep the bytes.  kInvalidArgument: another module; how saving the state
// of WASI failed; what wasm::prepare() says.
Result<Contents> contents_of(const cell::Image& image, std::shared_ptr<const std::vector<uint8_t>> source,
                             Origin origin);

// And back, for instances of a blueprint whose module was prepared to the same bytes, whether it keeps them
// or not.  kInvalidArgument: it was not; what cell::Image::restore() says.
Result<cell::Image::Restored> restore(const Contents& contents,
                                      std::shared_ptr<const cell::Blueprint> blueprint,
                                      const memory::ResetOptions& options);

}  // namespace spore::snapshot

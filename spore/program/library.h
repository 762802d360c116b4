#pragma once

// Libraries that are initialised once, by an export of their own, and begin each call there.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/cell/blueprint.h"
#include "spore/cell/image.h"
#include "spore/cell/pool.h"
#include "spore/host/value.h"
#include "spore/program/program.h"
#include "spore/program/source.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/writer.h"

namespace spore::program {

struct LibraryOptions {
  std::string init{kDefaultInit};  // an export of no parameters and no results; empty: none
  // Done to it behind that.
  std::function<Status(host::Instance& instance)> prepare{};
  uint64_t deadline_ms = 60'000;  // of that; `_initialize` has as long
  std::string domain;             // the trust domain that it belongs to
  // Until it is frozen: what it draws at random is the same in all calls, but for what it draws in
  // cell::kResumedExport.
  host::Wasi::Entropy entropy = host::Wasi::Entropy::kFresh;
};

// Thread-safe, immutable.
class Library {
 public:
  // The image is that after `_initialize` and `init`.  kNotFound: no such export; kInvalidArgument: it takes
  // or gives something; kUnsupported: not all of its state can be held; how it failed; what Pool::entry says.
  static Result<std::shared_ptr<const Library>> freeze(const cell::Blueprint& blueprint,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const LibraryOptions& options);
  // As Program's.
  static Result<std::shared_ptr<const Library>> restore(const snapshot::Contents& contents,
                                                        const cell::Blueprint& blueprint,
                                                        const std::shared_ptr<cell::Pool>& pool);
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // What PoolEntry::call says.
  Result<std::vector<host::Value>> call(std::string_view function, std::span<const host::Value> args) const {
    return entry_->call(function, args);
  }
  // As Program's.
  Result<Digest> save(const std::filesystem::path& path, const Source& source,
                      const snapshot::WriteOptions& options = snapshot::WriteOptions::local()) const;

  const std::shared_ptr<cell::PoolEntry>& pool_entry() const { return entry_; }
  const cell::Image& image() const { return *image_; }
  // Random bytes that it drew until it was frozen.
  uint64_t entropy_bytes() const { return entropy_bytes_; }

 private:
  Library(std::shared_ptr<const cell::Image> image, std::shared_ptr<cell::Pool> pool)
      : before_(image->blueprint().code->functions()), image_(std::move(image)), pool_(std::move(pool)) {}
  static Result<std::shared_ptr<const Library>> create(std::shared_ptr<const cell::Image> image,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       std::string_view domain, uint64_t entropy_bytes = 0);

  uint64_t entropy_bytes_ = 0;
  const engine::UseByName before_;  // of the module, until it was frozen
  std::shared_ptr<const cell::Image> image_;
  std::shared_ptr<cell::Pool> pool_;
  std::shared_ptr<cell::PoolEntry> entry_;
};

}  // namespace spore::program

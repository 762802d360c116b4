#include "spore/program/library.h"

#include <utility>

#include "spore/program/freezing.h"

namespace spore::program {

Library::~Library() {
  if (entry_ == nullptr) return;
  entry_ = nullptr;  // so that the pool lets it go
  pool_->forget(image_->blueprint());
}

Result<std::shared_ptr<const Library>> Library::create(std::shared_ptr<const cell::Image> image,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       std::string_view domain, uint64_t entropy_bytes) {
  std::shared_ptr<Library> library(new Library(std::move(image), pool));
  library->entropy_bytes_ = entropy_bytes;
  library->entry_ = SPORE_TRY(pool->entry(library->image_, domain));
  return std::shared_ptr<const Library>(std::move(library));
}

Result<std::shared_ptr<const Library>> Library::freeze(const cell::Blueprint& blueprint,
                                                       const std::shared_ptr<cell::Pool>& pool,
                                                       const LibraryOptions& options) {
  SPORE_TRY(check_holdable(blueprint).with_context(blueprint.name));
  SPORE_TRY(check_hook(blueprint.prepared->facts, cell::kResumedExport).with_context(blueprint.name));
  engine::Limits limits = blueprint.limits;
  limits.deadline_ms = options.deadline_ms;
  host::Instance instance = SPORE_TRY(instantiate(blueprint, limits, options.entropy));
  if (!options.init.empty()) {
    const auto init = SPORE_TRY(instance.function<void()>(options.init));
    if (Status status = init(); !status.ok()) {
      const std::string error = instance.wasi() == nullptr ? "" : instance.wasi()->take_error();
      const std::string context = fmt::format("{}: '{}'", blueprint.name, options.init);
      return with_words(std::move(status).with_context(context), error);
    }
  }
  if (options.prepare) SPORE_TRY(options.prepare(instance).with_context(blueprint.name));
  auto image = SPORE_TRY(cell::Image::capture(std::make_shared<const cell::Blueprint>(blueprint), instance,
                                              pool->options().reset));
  const uint64_t entropy_bytes = instance.wasi() == nullptr ? 0 : instance.wasi()->entropy_bytes();
  return create(std::move(image), pool, options.domain, entropy_bytes);
}

Result<std::shared_ptr<const Library>> Library::restore(const snapshot::Contents& contents,
                                                        const cell::Blueprint& blueprint,
                                                        const std::shared_ptr<cell::Pool>& pool) {
  if (contents.frames.has_value() || contents.manifest.framing != snapshot::Framing::kNone) {
    return Status::invalid_argument("{}: this image is of a program that answers requests, not of a library",
                                    contents.manifest.name);
  }
  cell::Image::Restored restored = SPORE_TRY(
      snapshot::restore(contents, std::make_shared<const cell::Blueprint>(blueprint), pool->options().reset));
  SPORE_TRY(check_files(restored.lost).with_context(blueprint.name));
  return create(std::move(restored.image), pool, contents.manifest.domain, contents.manifest.entropy_bytes);
}

Result<Digest> Library::save(const std::filesystem::path& path, const Source& source,
                             const snapshot::WriteOptions& options) const {
  return save_image(*image_, source,
                    {.domain = entry_->domain(),
                     .entropy_bytes = entropy_bytes_,
                     .profile = code::profile_since(*image_->blueprint().code, before_)},
                    path, options);
}

}  // namespace spore::program

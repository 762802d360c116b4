#include "apps/spore/image.h"

#include <algorithm>
#include <chrono>

#include "apps/spore/command.h"
#include "apps/spore/progress.h"
#include "spore/base/utf8.h"
#include "spore/runtime/runtime.h"
#include "spore/snapshot/reader.h"

namespace spore::cli {

namespace {

Status not_found(const std::filesystem::path& path, std::string_view why) {
  return Status::not_found(
      "{} is derived from another image, and what is in its place {} (--base FILE says where that is)",
      printable(path.native()), printable(why));
}

// Reads one that was proved before no further than its hashes, and one whose file was read before no further
// than it must; remembers what was found out now.
Result<snapshot::Contents> read_proved(const Args& args, const std::filesystem::path& path,
                                       const snapshot::Proofs* proofs, const snapshot::Contents* base) {
  bool proved = false;
  bool verified = false;
  snapshot::ReadOptions options{
      .base = base, .proved = {}, .verified = {}, .find_module = {}, .progress = {}};
  options.prefetch = !args.has("--no-prefetch");
  if (proofs != nullptr) {
    options.proved = [&](const Digest& id) { return proved = proofs->has(id); };
    options.verified = [&](const Digest& id, const snapshot::FileIdentity& file) {
      return verified = proofs->has(id, file);
    };
  }
  snapshot::Contents contents = SPORE_TRY(snapshot::read(path, options));
  if (proofs != nullptr && !proved && contents.proved) proofs->add(contents.id);
  if (proofs != nullptr && !verified && contents.file) proofs->add(contents.id, *contents.file);
  return contents;
}

}  // namespace

std::unique_ptr<snapshot::Proofs> open_proofs(const Args& args) {
  const Result<std::filesystem::path> home = home_of(args);
  if (!home.ok()) return nullptr;
  return snapshot::Proofs::open(home.value() / "proved", home.value() / "code.key");
}

void remember_made(const Args& args, const Digest& image) {
  const std::unique_ptr<snapshot::Proofs> proofs = open_proofs(args);
  if (proofs != nullptr) proofs->add(image);
}

Result<ImageFile> read_image(const Args& args, const std::filesystem::path& path) {
  ImageFile image;
  const std::unique_ptr<snapshot::Proofs> proofs = open_proofs(args);
  Result<snapshot::Contents> whole = read_proved(args, path, proofs.get(), nullptr);
  if (whole.code() != Code::kUnavailable) {  // most stand on no other
    image.contents = SPORE_TRY(std::move(whole));
    if (!args.has("--base")) return image;
    return Status::invalid_argument("{} stands on no other image: --base is for those that do",
                                    printable(path.native()));
  }
  const snapshot::Description described = SPORE_TRY(snapshot::describe(path));
  if (!described.base) return std::move(whole).status();
  std::filesystem::path base = *described.manifest.base_file;
  if (base.is_absolute()) return not_found(path, "is told by a whole path, as none is written");
  base = path.parent_path() / base;
  if (const auto flag = args.value_of("--base")) base = std::filesystem::path(*flag);
  // The place is the file's word: nothing but its id is looked at before that is right.
  const Result<snapshot::Description> there = snapshot::describe(base);
  if (!there.ok()) return not_found(path, fmt::format("cannot be read: {}", there.status().message()));
  if (there->id != *described.base) return not_found(path, "is not that image");
  image.base = SPORE_TRY(read_proved(args, base, proofs.get(), nullptr));
  image.contents = SPORE_TRY(read_proved(args, path, proofs.get(), &*image.base));
  return image;
}

namespace {

// The image of a module that is none yet: as it is after its initialisation.
Result<snapshot::Contents> image_of_module(const Args& args, std::string_view file) {
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  const ModuleBytes bytes = SPORE_TRY(read_module(file, options.module_bytes_max));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  const Progress progress(fmt::format("initialising {}", file));
  const auto module = SPORE_TRY(runtime->load_module(file, bytes.bytes(), {.one_call = true}));
  const auto kind = SPORE_TRY(runtime->cell_kind(*module));
  const std::span<const uint8_t> source = bytes.bytes();
  return snapshot::contents_of(
      *kind->image(), std::make_shared<const std::vector<uint8_t>>(source.begin(), source.end()),
      {.created_s = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                              std::chrono::system_clock::now().time_since_epoch())
                                              .count())});
}

}  // namespace

Result<snapshot::Contents> image_in(const Args& args, std::string_view file) {
  constexpr uint64_t kBytesMax = uint64_t{1} << 40;
  bool is_image = false;
  {
    const FileView view = SPORE_TRY(view_file(std::filesystem::path(file), kBytesMax));
    is_image = snapshot::has_snapshot_magic(view.bytes());
  }
  if (!is_image) return image_of_module(args, file);
  ImageFile image = SPORE_TRY(read_image(args, std::filesystem::path(file)));
  return std::move(image.contents);
}

Result<ImageFile> read_image_alone(const Args& args, const std::filesystem::path& path) {
  ImageFile image;
  const std::unique_ptr<snapshot::Proofs> proofs = open_proofs(args);
  Result<snapshot::Contents> whole = read_proved(args, path, proofs.get(), nullptr);
  if (whole.code() == Code::kUnavailable) return read_image(args, path);
  image.contents = SPORE_TRY(std::move(whole));
  return image;
}

Status apply_preset(const Args& args, const snapshot::Presets& presets, runtime::RuntimeOptions& options) {
  const snapshot::Presets::Preset* preset =
      presets.empty() ? nullptr : &presets.list.at(presets.default_preset);
  if (const auto name = args.value_of("--preset")) {
    preset = presets.find(*name);
    if (preset == nullptr) {
      std::string names;
      for (const snapshot::Presets::Preset& one : presets.list) {
        names += (names.empty() ? "" : ", ") + printable(one.name);
      }
      return Status::not_found("this image has no preset '{}' (there are: {})", printable(*name),
                               names.empty() ? "none" : names);
    }
  }
  if (preset == nullptr) return {};
  for (const std::string& option : preset->options) {
    const size_t equals = std::min(option.find('='), option.size());
    const std::string_view text = option;
    SPORE_TRY(
        runtime::set_option(options, text.substr(0, equals), text.substr(std::min(equals + 1, text.size())))
            .with_context(fmt::format("preset {}", printable(preset->name))));
  }
  return {};
}

}  // namespace spore::cli

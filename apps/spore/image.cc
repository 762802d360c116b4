#include "apps/spore/image.h"

#include "spore/base/utf8.h"
#include "spore/snapshot/reader.h"

namespace spore::cli {

Result<ImageFile> read_image(const Args& args, const std::filesystem::path& path) {
  ImageFile image;
  snapshot::ReadOptions options;
  const snapshot::Description described = SPORE_TRY(snapshot::describe(path));
  if (described.base) {
    std::filesystem::path base = path.parent_path() / *described.manifest.base_file;
    if (const auto flag = args.value_of("--base")) base = std::filesystem::path(*flag);
    Result<snapshot::Contents> read = snapshot::read(base);
    if (!read.ok()) {
      return std::move(read).status().with_context(fmt::format(
          "{} is derived from another image (--base FILE says where that is)", printable(path.native())));
    }
    image.base = std::move(read).value();
    options.base = &*image.base;
  } else if (args.has("--base")) {
    return Status::invalid_argument("{} stands on no other image: --base is for those that do",
                                    path.native());
  }
  image.contents = SPORE_TRY(snapshot::read(path, options));
  return image;
}

}  // namespace spore::cli

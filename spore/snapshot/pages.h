#pragma once

// From PAGES to memories.  Internal to snapshot/.

#include <memory>
#include <vector>

#include "spore/base/status.h"
#include "spore/memory/page_image.h"
#include "spore/snapshot/file.h"
#include "spore/snapshot/format.h"

namespace spore::snapshot {

struct ReadPages {
  std::vector<std::shared_ptr<const memory::PageImage>> memories;
  bool mapped = false;  // they are the file's own pages, not copies
};
// `base`: of a derived image, else null.  Hashes are compared; those of raw pages, only if `compare`.  What
// is mapped is right if the file is unchanged afterwards. kIo: no memory, or no descriptor, left;
// kCorruption: also, the base has not what is its.
Result<ReadPages> read_pages(const SnapshotFile& file, const PageIndex& index, const Contents* base,
                             bool compare);

}  // namespace spore::snapshot

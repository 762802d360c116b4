#include "spore/base/version.h"

namespace spore {

std::string_view version() { return SPORE_VERSION; }

}  // namespace spore

#include "spore/base/log.h"

#include <cstdio>

namespace spore {

std::string_view log_level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarning: return "warning";
    case LogLevel::kError: return "error";
    case LogLevel::kOff: return "off";
  }
  return "unknown";
}

Log::Sink stderr_sink() {
  return [](LogLevel level, std::string_view line) {
    const std::string text = fmt::format("spore: {}: {}\n", log_level_name(level), line);
    std::fwrite(text.data(), 1, text.size(), stderr);  // one call: lines of threads stay whole
  };
}

}  // namespace spore

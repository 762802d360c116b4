#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace spore {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError, kOff };

std::string_view log_level_name(LogLevel level);

// Where a Runtime's log lines go.  Thread-safe if its sink is; cheap to copy.  The default writes
// nothing: a library in somebody's server has no business on its standard error.
class Log {
 public:
  // Called on any thread, perhaps on several at once; must not call back into Spore.
  using Sink = std::function<void(LogLevel level, std::string_view line)>;

  Log() = default;
  Log(LogLevel level, Sink sink) : level_(level), sink_(std::make_shared<const Sink>(std::move(sink))) {}

  bool enabled(LogLevel level) const { return sink_ != nullptr && level >= level_; }

  template <typename... Args>
  void write(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
    if (enabled(level)) (*sink_)(level, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  LogLevel level_ = LogLevel::kOff;
  std::shared_ptr<const Sink> sink_;
};

// A sink for programs: "spore: warning: ..." on standard error.
Log::Sink stderr_sink();

}  // namespace spore

#pragma once

// What is counted and measured, as text for Prometheus (format 0.0.4).

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spore {

// Time is measured in nanoseconds and told in seconds, as Prometheus has it.
constexpr double seconds_of_ns(uint64_t ns) {
  constexpr double kNsInSecond = 1e9;
  return static_cast<double>(ns) / kNsInSecond;
}

// Writes metrics, family by family, into a string.  Not thread-safe.
//
//   MetricsWriter metrics;
//   metrics.counter("spore_calls_total", "Calls that ended.")
//       .sample({{"module", module}, {"outcome", "trap"}}, traps)
//       .sample({{"module", module}, {"outcome", "ok"}}, calls - traps);
//   metrics.gauge("spore_uptime_seconds", "Time since the start.").sample(seconds);
//   print(metrics.take());
//
// Names of metrics and labels are ours: a bad one, or a family that is begun twice, is a bug and aborts.
// Help and values of labels are any text; bytes that are not UTF-8 become U+FFFD.  A label set may be
// written once in a family: Prometheus refuses all of a text in which one stands twice.
class MetricsWriter {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // Begins a family, which the samples that follow belong to.
  MetricsWriter& counter(std::string_view name, std::string_view help);
  MetricsWriter& gauge(std::string_view name, std::string_view help);

  // Integers are written with all their digits, floating point with as many as lead back to the same number.
  template <typename T>
    requires(std::integral<T> || std::floating_point<T>) && (!std::same_as<T, bool>)
  MetricsWriter& sample(Labels labels, T value) {
    begin_sample(labels);
    if constexpr (std::integral<T>) {
      end_sample(std::to_string(value));
    } else {
      end_sample(number(value));
    }
    return *this;
  }
  template <typename T>
  MetricsWriter& sample(T value) {
    return sample({}, value);
  }

  // The text; the writer is empty again.
  std::string take();

 private:
  void begin_family(std::string_view type, std::string_view name, std::string_view help);
  void begin_sample(Labels labels);
  void end_sample(std::string_view value);
  static std::string number(double value);

  std::string text_;
  std::vector<std::string> families_;  // their names; the last is the one that is written
};

}  // namespace spore

#pragma once

// What all benchmarks share: interleaved rounds, percentiles, one JSON object.
//
// Subjects and baselines take turns, a batch each, so that what disturbs the machine disturbs all of them.
// A figure is nanoseconds per operation of one batch; p50 and p99 are over the batches.  Take the ratios.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace spore::bench {

// Something to measure.  `run(n)` does it n times and aborts by fail() if an answer was wrong.
struct Subject {
  std::string name;
  std::function<void(uint64_t n)> run;
};

struct Figure {
  std::string name;
  double p50_ns;
  double p99_ns;
  double worst_ns;
};

struct Ratio {
  std::string name;
  std::string numerator;
  std::string denominator;
  double value;
  std::string better;  // "higher" or "lower"
};

// Prints what is wrong and exits with 1.
[[noreturn]] void fail(std::string_view what);

// Runs all subjects in turn: `rounds` rounds of batches of `batch` operations, after a tenth of them
// unmeasured.
std::vector<Figure> interleave(const std::vector<Subject>& subjects, uint64_t rounds, uint64_t batch);

// Runs it `calls` times.
double ns_per_call(const std::function<void(uint64_t)>& run, uint64_t calls);

// How often `run` can be done in about `slice_ns`.
uint64_t calls_in(const std::function<void(uint64_t)>& run, double slice_ns);

// The same for subjects of very different cost: a batch of each is what takes `slice_ns`, so that what one
// leaves in the caches weighs as much on the next, whichever that is.
std::vector<Figure> interleave_slices(const std::vector<Subject>& subjects, uint64_t rounds, double slice_ns);

// The percentiles of some samples, in nanoseconds.
Figure figure_of(std::string name, std::vector<double> samples_ns);

// Collects figures and prints them: a table, or with --json exactly one JSON object.
class Report {
 public:
  Report(std::string name, int argc, char** argv);

  void add(const std::vector<Figure>& figures);
  // p50 over p50.
  void ratio(std::string name, std::string_view numerator, std::string_view denominator, std::string better);
  // A ratio of what is no figure of this report.
  void ratio(Ratio ratio) { ratios_.push_back(std::move(ratio)); }
  // A number that stands at the top of the object as well.
  void top(std::string name, double value) { tops_.emplace_back(std::move(name), value); }
  double top(std::string_view name) const;
  const Figure& figure(std::string_view name) const;
  double p50(std::string_view name) const { return figure(name).p50_ns; }

  // Writes to standard output.  Exit code of main.
  int print() const;

 private:
  void print_json() const;
  void print_table() const;

  std::string name_;
  bool json_ = false;
  std::vector<Figure> figures_;
  std::vector<Ratio> ratios_;
  std::vector<std::pair<std::string, double>> tops_;
};

}  // namespace spore::bench

#include "bench/harness.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "spore/base/json.h"

#include <fmt/format.h>

namespace spore::bench {
namespace {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string command_output(const char* command) {
  std::string text;
  if (FILE* pipe = popen(command, "r")) {
    char buffer[256];
    while (fgets(buffer, sizeof buffer, pipe) != nullptr) text += buffer;
    pclose(pipe);
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string commit() {
  const std::string text =
      command_output("git -C '" SPORE_SOURCE_DIR "' describe --always --dirty --abbrev=12 2>/dev/null");
  return text.empty() ? "unknown" : text;
}

std::string kernel() {
  utsname name{};
  uname(&name);
  return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
}

double percentile(const std::vector<double>& sorted, double share) {
  const auto last = static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<size_t>(last * share)];
}

std::vector<Figure> interleave_batches(const std::vector<Subject>& subjects, uint64_t rounds,
                                       const std::vector<uint64_t>& batches) {
  std::vector<std::vector<double>> samples(subjects.size());
  const uint64_t warm_up = rounds / 10 + 1;
  for (uint64_t round = 0; round < rounds + warm_up; round++) {
    for (size_t i = 0; i < subjects.size(); i++) {
      // The order turns with the rounds: nobody always runs behind the same neighbour.
      const size_t turn = (i + round) % subjects.size();
      const double ns = ns_per_call(subjects[turn].run, batches[turn]);
      if (round >= warm_up) samples[turn].push_back(ns);
    }
  }
  std::vector<Figure> figures;
  for (size_t i = 0; i < subjects.size(); i++) {
    figures.push_back(figure_of(subjects[i].name, std::move(samples[i])));
  }
  return figures;
}

}  // namespace

void fail(std::string_view what) {
  std::fprintf(stderr, "benchmark: wrong answer: %.*s\n", static_cast<int>(what.size()), what.data());
  std::exit(1);
}

std::vector<Figure> interleave(const std::vector<Subject>& subjects, uint64_t rounds, uint64_t batch) {
  return interleave_batches(subjects, rounds, std::vector<uint64_t>(subjects.size(), batch));
}

double ns_per_call(const std::function<void(uint64_t)>& run, uint64_t calls) {
  const auto begin = std::chrono::steady_clock::now();
  run(calls);
  const std::chrono::duration<double, std::nano> elapsed = std::chrono::steady_clock::now() - begin;
  return elapsed.count() / static_cast<double>(calls);
}

uint64_t calls_in(const std::function<void(uint64_t)>& run, double slice_ns) {
  for (uint64_t calls = 1;; calls *= 2) {
    // The least of some: one interruption must not pass for the cost of a call.
    double ns = ns_per_call(run, calls);
    for (int again = 0; again < 4; again++) ns = std::min(ns, ns_per_call(run, calls));
    if (ns * static_cast<double>(calls) > slice_ns / 2) return static_cast<uint64_t>(slice_ns / ns) + 1;
  }
}

std::vector<Figure> interleave_slices(const std::vector<Subject>& subjects, uint64_t rounds,
                                      double slice_ns) {
  std::vector<uint64_t> batches;
  for (const Subject& subject : subjects) batches.push_back(calls_in(subject.run, slice_ns));
  return interleave_batches(subjects, rounds, batches);
}

Figure figure_of(std::string name, std::vector<double> samples_ns) {
  if (samples_ns.empty()) fail("nothing was measured");
  std::ranges::sort(samples_ns);
  return {std::move(name), percentile(samples_ns, 0.5), percentile(samples_ns, 0.99), samples_ns.back()};
}

Report::Report(std::string name, int argc, char** argv) : name_(std::move(name)) {
  for (int i = 1; i < argc; i++) {
    const std::string_view word = argv[i];
    if (word == "--json") {
      json_ = true;
    } else {
      std::fprintf(stderr, "bench %s: unknown argument '%s' (only --json)\n", name_.c_str(), argv[i]);
      std::exit(2);
    }
  }
}

void Report::add(const std::vector<Figure>& figures) {
  figures_.insert(figures_.end(), figures.begin(), figures.end());
}

double Report::top(std::string_view name) const {
  const auto found = std::ranges::find(tops_, name, &std::pair<std::string, double>::first);
  if (found == tops_.end()) fail(fmt::format("no number named '{}'", name));
  return found->second;
}

const Figure& Report::figure(std::string_view name) const {
  const auto found = std::ranges::find(figures_, name, &Figure::name);
  if (found == figures_.end()) fail(fmt::format("no figure '{}'", name));
  return *found;
}

void Report::ratio(std::string name, std::string_view numerator, std::string_view denominator,
                   std::string better) {
  ratio({std::move(name), std::string(numerator), std::string(denominator), p50(numerator) / p50(denominator),
         std::move(better)});
}

int Report::print() const {
  json_ ? print_json() : print_table();
  return std::fflush(stdout) == 0 ? 0 : 1;
}

void Report::print_json() const {
  JsonWriter json;
  json.begin_object().field("bench", name_);
  json.field("machine", fmt::format("{}, {} cores", cpu_name(), sysconf(_SC_NPROCESSORS_ONLN)));
  json.field("kernel", kernel()).field("commit", commit());
  for (const Ratio& ratio : ratios_) json.field(ratio.name, ratio.value);
  for (const auto& [name, value] : tops_) json.field(name, value);
  json.begin_array("results");
  for (const Figure& figure : figures_) {
    json.begin_object()
        .field("name", figure.name)
        .field("p50_ns", figure.p50_ns)
        .field("p99_ns", figure.p99_ns)
        .field("worst_ns", figure.worst_ns)
        .field("unit", "ns")
        .end_object();
  }
  for (const Ratio& ratio : ratios_) {
    json.begin_object()
        .field("name", ratio.name)
        .field("value", ratio.value)
        .field("unit", "ratio")
        .field("numerator", ratio.numerator)
        .field("denominator", ratio.denominator)
        .field("better", ratio.better)
        .end_object();
  }
  json.end_array().end_object();
  const std::string text = json.take();
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void Report::print_table() const {
  std::printf("%s, %s, commit %s\n", name_.c_str(), kernel().c_str(), commit().c_str());
  std::printf("%-28s %12s %12s %12s\n", "", "p50 ns", "p99 ns", "worst ns");
  for (const Figure& figure : figures_) {
    std::printf("%-28s %12.1f %12.1f %12.1f\n", figure.name.c_str(), figure.p50_ns, figure.p99_ns,
                figure.worst_ns);
  }
  for (const Ratio& ratio : ratios_) {
    std::printf("%-28s %12.3f  = %s / %s (%s is better)\n", ratio.name.c_str(), ratio.value,
                ratio.numerator.c_str(), ratio.denominator.c_str(), ratio.better.c_str());
  }
  for (const auto& [name, value] : tops_) std::printf("%-28s %12.1f\n", name.c_str(), value);
}

}  // namespace spore::bench

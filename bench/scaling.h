#pragma once

// What two threads do beside one.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace spore::bench {

// Something that each thread makes for itself and then runs.
struct ThreadSubject {
  std::string name;
  std::function<std::function<void(uint64_t)>()> make;
};

struct Scaling {
  std::string name;
  double one_thread_per_s;   // p50 over the rounds
  double two_threads_per_s;  // both together, at the same time
  double ratio() const { return two_threads_per_s / one_thread_per_s; }
};

// All subjects in turn, on one thread and on two, for `rounds` rounds of `slice_ns` each.
std::vector<Scaling> measure_scaling(const std::vector<ThreadSubject>& subjects, int rounds, double slice_ns);

}  // namespace spore::bench

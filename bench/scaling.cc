#include "bench/scaling.h"

#include <algorithm>
#include <array>
#include <barrier>
#include <thread>

#include "bench/harness.h"

namespace spore::bench {
namespace {

double per_s(const std::function<void(uint64_t)>& run, uint64_t calls) {
  return 1e9 / ns_per_call(run, calls);
}

double median(std::vector<double> samples) {
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::ranges::nth_element(samples, middle);
  return *middle;
}

// What one thread measured: of each subject, a rate for each round.
struct Rates {
  std::vector<std::vector<double>> alone;
  std::vector<std::vector<double>> together;
};

}  // namespace

std::vector<Scaling> measure_scaling(const std::vector<ThreadSubject>& subjects, int rounds,
                                     double slice_ns) {
  std::array<Rates, 2> rates;
  std::barrier both(2);
  const auto work = [&](int thread) {
    Rates& mine = rates[thread];
    mine.alone.resize(subjects.size());
    mine.together.resize(subjects.size());
    std::vector<std::function<void(uint64_t)>> runs;
    std::vector<uint64_t> calls;
    for (const ThreadSubject& subject : subjects) {
      runs.push_back(subject.make());
      calls.push_back(calls_in(runs.back(), slice_ns));
    }
    for (int round = 0; round < rounds; round++) {
      for (size_t i = 0; i < subjects.size(); i++) {
        both.arrive_and_wait();
        // The threads take turns in being the one.
        if (round % 2 == thread) mine.alone[i].push_back(per_s(runs[i], calls[i]));
        both.arrive_and_wait();
        mine.together[i].push_back(per_s(runs[i], calls[i]));
      }
    }
  };
  {
    const std::jthread first(work, 0);
    const std::jthread second(work, 1);
  }

  std::vector<Scaling> result;
  for (size_t i = 0; i < subjects.size(); i++) {
    std::vector<double> alone = rates[0].alone[i];
    alone.insert(alone.end(), rates[1].alone[i].begin(), rates[1].alone[i].end());
    std::vector<double> together;
    for (int round = 0; round < rounds; round++) {
      together.push_back(rates[0].together[i][round] + rates[1].together[i][round]);
    }
    result.push_back({subjects[i].name, median(std::move(alone)), median(std::move(together))});
  }
  return result;
}

}  // namespace spore::bench

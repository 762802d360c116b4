// What does a clean instance for one call cost: made, called once, and thrown away?
//
//   spore      Runtime::instantiate, a typed lookup, one call
//   by_hand    Wasmtime's C API: a new store, instance, export lookup, checked call
//   process    posix_spawn of /bin/true and its end: what isolation by processes costs before any work
//
// The pool that resets instances in place comes later; this is what it will be measured against.

#include <spawn.h>
#include <sys/wait.h>

#include "bench/by_hand.h"
#include "bench/harness.h"
#include "spore/spore.h"
#include "tests/guest_file.h"

namespace spore {
namespace {

using bench::fail;

void spawn_and_wait() {
  char path[] = "/bin/true";
  char* arguments[] = {path, nullptr};
  pid_t child = 0;
  int status = 1;
  if (posix_spawn(&child, path, nullptr, nullptr, arguments, nullptr) != 0) fail("posix_spawn");
  if (waitpid(child, &status, 0) != child || status != 0) fail("/bin/true");
}

int run(int argc, char** argv) {
  bench::Report report("instance", argc, argv);
  const std::unique_ptr<Runtime> runtime = Runtime::create({.tier = Tier::kOptimised}).value();
  const std::vector<uint8_t> wasm = test::guest("secret.wat");
  const std::shared_ptr<const Module> module = runtime->load_module("secret", wasm).value();
  const bench::ByHand by_hand(wasm);

  report.add(bench::interleave({{"spore",
                                 [&](uint64_t n) {
                                   for (uint64_t i = 0; i < n; i++) {
                                     const Instance instance = runtime->instantiate(*module).value();
                                     if (instance.function<int32_t()>("touch").value()().value() != 0)
                                       fail("spore");
                                   }
                                 }},
                                {"by_hand",
                                 [&](uint64_t n) {
                                   for (uint64_t i = 0; i < n; i++) {
                                     if (by_hand.call_in_new_instance("touch") != 0) fail("by_hand");
                                   }
                                 }}},
                               300, 20));
  report.add(bench::interleave({{"process",
                                 [](uint64_t n) {
                                   for (uint64_t i = 0; i < n; i++) spawn_and_wait();
                                 }}},
                               200, 1));
  report.ratio("process_vs_spore", "process", "spore", "higher");
  report.ratio("spore_vs_by_hand", "spore", "by_hand", "lower");
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::run(argc, argv); }

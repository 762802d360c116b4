// ./dev demo: what Spore is for, on one screen.  Each capability adds an act and a line to the table.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "bench/by_hand.h"
#include "bench/harness.h"
#include "demo/acts.h"
#include "spore/spore.h"
#include "tests/guest_file.h"

namespace spore {
namespace {

using bench::fail;
using demo::duration;
using demo::quoted;
using demo::Row;
using demo::say;

// Act 1: a guest keeps a secret of one caller; who finds it?
void act_one(Runtime& runtime, const Module& module) {
  say("Act 1: a guest keeps what one customer gave it, and the next customer looks for it.");
  Instance used = runtime.instantiate(module).value();
  const Status kept = used.function<void(std::string_view)>("remember").value()("card 4929 0000 1111 2222");
  if (!kept.ok()) fail("remember");
  const std::string leaked = used.function<std::string()>("recall").value()().value();
  if (leaked != "card 4929 0000 1111 2222") fail("the reused instance did not leak");

  const auto remember = runtime.clean_function<void(std::string_view)>(module, "remember").value();
  const auto recall = runtime.clean_function<std::string()>(module, "recall").value();
  if (!remember("card 4929 0000 1111 2222").ok()) fail("remember");
  const std::string found = recall().value();
  if (!found.empty()) fail("a clean instance was not clean");
  if (runtime.pool().statistics().counts.created != 1) fail("it was another instance");

  say(fmt::format("  a reused instance gives the next customer  {}", quoted(leaked)));
  say(fmt::format("  the same instance made as new gives        {}", quoted(found)));
}

// What the act's calls cost, beside Wasmtime's C API used by hand.
void measure(Runtime& runtime, const Module& module, const std::vector<uint8_t>& wasm,
             std::vector<Row>& table) {
  const Instance reused = runtime.instantiate(module).value();
  const auto touch = reused.function<int32_t()>("touch").value();
  const auto clean_touch = runtime.clean_function<int32_t()>(module, "touch").value();
  const bench::ByHand by_hand(wasm);
  const wasmtime_func_t by_hand_touch = by_hand.item("touch").of.func;
  const std::vector<bench::Figure> calls = bench::interleave({{"typed",
                                                               [&](uint64_t n) {
                                                                 for (uint64_t i = 0; i < n; i++) {
                                                                   if (!touch().ok()) fail("touch");
                                                                 }
                                                               }},
                                                              {"checked",
                                                               [&](uint64_t n) {
                                                                 for (uint64_t i = 0; i < n; i++)
                                                                   by_hand.call(by_hand_touch, {}, true);
                                                               }}},
                                                             500, 2000);
  const std::vector<bench::Figure> instances =
      bench::interleave({{"spore",
                          [&](uint64_t n) {
                            for (uint64_t i = 0; i < n; i++) {
                              if (clean_touch().value() != 0) fail("not clean");
                            }
                          }},
                         {"by hand",
                          [&](uint64_t n) {
                            for (uint64_t i = 0; i < n; i++) {
                              if (by_hand.call_in_new_instance("touch") != 0) fail("not clean");
                            }
                          }}},
                        200, 20);
  say(fmt::format("  a call into the reused instance costs      {}", duration(calls[0].p50_ns)));
  say(fmt::format("  a call into a clean instance costs         {}", duration(instances[0].p50_ns)));

  const auto add = [&](const char* what, const std::vector<bench::Figure>& figures, const char* command) {
    table.push_back({what, duration(figures[0].p50_ns), duration(figures[1].p50_ns),
                     fmt::format("{:.1f}x", figures[1].p50_ns / figures[0].p50_ns), command});
  };
  add("call a guest's function", calls, "./dev bench call");
  add("a clean instance for a call", instances, "./dev bench clean-call");
}

// A folder with one file, gone at the end.
class Story {
 public:
  Story() {
    std::string name = (std::filesystem::temp_directory_path() / "spore.XXXXXX").native();
    if (::mkdtemp(name.data()) == nullptr) fail("mkdtemp");
    folder_ = name;
    std::ofstream(folder_ / "story")
        << "Once upon a time there was a guest, and it lived happily ever after.";
  }
  ~Story() { std::filesystem::remove_all(folder_); }
  Story(const Story&) = delete;
  Story& operator=(const Story&) = delete;

  std::string folder() const { return folder_.native(); }

 private:
  std::filesystem::path folder_;
};

// Act 4: a program stops in the middle of a file; another instance goes on.
void act_four(Runtime& runtime, std::vector<Row>& table) {
  say("Act 4: a program of WASI reads half a file; its world goes to sleep, and wakes in another instance.");
  const Story story;
  const auto config = WasiConfig::create({.directories = {{story.folder(), "/"}}}).value();
  const auto module = runtime.load_module("reader", test::guest("reader.wat")).value();
  const Instance first = runtime.instantiate(*module, {.wasi = std::make_unique<Wasi>(config)}).value();
  constexpr uint32_t kHalf = 36;
  if (!first.function<void()>("open").value()().ok()) fail("open");
  if (!first.function<void(uint32_t)>("tell").value()(kHalf).ok()) fail("tell");
  const std::vector<uint8_t> asleep = first.wasi()->save().value();

  const Instance second = runtime.instantiate(*module, {.wasi = std::make_unique<Wasi>(config)}).value();
  if (!second.wasi()->restore(asleep).value().empty()) fail("restore");
  if (!second.function<void(uint32_t)>("tell").value()(100).ok()) fail("tell");
  say(fmt::format("  the first read    {}", quoted(first.wasi()->take_output())));
  say(fmt::format("  asleep: descriptors, positions, rights and clocks are {} bytes", asleep.size()));
  say(fmt::format("  the second read   {}", quoted(second.wasi()->take_output())));

  Wasi& wasi = *second.wasi();
  const WasiState state = wasi.state();
  const std::vector<bench::Figure> figures = bench::interleave({{"copy",
                                                                 [&](uint64_t n) {
                                                                   for (uint64_t i = 0; i < n; i++)
                                                                     wasi.set_state(state);
                                                                 }},
                                                                {"restore",
                                                                 [&](uint64_t n) {
                                                                   for (uint64_t i = 0; i < n; i++) {
                                                                     if (!wasi.restore(asleep).ok())
                                                                       fail("restore");
                                                                   }
                                                                 }}},
                                                               200, 100);
  table.push_back({"put back a program's files", duration(figures[0].p50_ns), duration(figures[1].p50_ns),
                   fmt::format("{:.1f}x", figures[1].p50_ns / figures[0].p50_ns), "./dev bench wasi"});
}

void print_table(const std::vector<Row>& table) {
  const auto line = [](const Row& row) {
    say(fmt::format("{:30} {:>10} {:>16} {:>8}   {}", row.what, row.ours, row.usual, row.ratio, row.command));
  };
  say("");
  line({"what", "Spore", "the usual way*", "ratio", "the command that proves it"});
  for (const Row& row : table) line(row);
  say("* Wasmtime's C API by hand: wasmtime_func_call; a new store and instance for each call; a process for "
      "each request; opening the files again; compiling all of a module first; waking in a new process; a "
      "function in Python by create_function.");
}

int run() {
  demo::PythonInBackground python;
  const std::unique_ptr<Runtime> runtime = Runtime::create({}).value();
  const std::vector<uint8_t> wasm = test::guest("secret.wat");
  const std::shared_ptr<const Module> module = runtime->load_module("secret", wasm).value();
  std::vector<Row> table;
  act_one(*runtime, *module);
  measure(*runtime, *module, wasm, table);
  demo::act_two(table);
  demo::act_three(python, table);
  act_four(*runtime, table);
  demo::act_five(table);
  demo::act_six(table);
  demo::act_seven(table);
  print_table(table);
  return 0;
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--wake") return spore::demo::wake_elsewhere(argv[2]);
  return spore::run();
}

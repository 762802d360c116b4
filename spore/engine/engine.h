#pragma once

// Engines and the code they make.  The only configurations that exist are those of EngineOptions.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/engine/types.h"
#include "spore/memory/slot_pool.h"

struct wasm_engine_t;
struct wasmtime_module;

namespace spore::engine {

class ForkGuard;
class InterpretedCode;
class Ticker;

// What runs the code; docs/design.md, section 3.
enum class Tier : uint8_t {
  kInterpreter = 0,  // wasmi: functions are translated when they are first called
  kBaseline = 1,     // Winch
  kOptimised = 2,    // Cranelift
  kPeak = 3,         // Cranelift, of the module as Binaryen optimised it
};
std::string_view tier_name(Tier tier);  // "interpreter", "baseline", "optimised", "peak"
std::optional<Tier> tier_of_name(std::string_view name);

inline constexpr size_t kWasmStackBytesMin = 64 * 1024;
// Wasmtime refuses more than its stack for async calls, which a build without async cannot set: 2 MiB.
inline constexpr size_t kWasmStackBytesMax = 2 * 1024 * 1024;

// What is compiled into code and cannot change later.  Every combination of these is tested: a bad engine
// configuration aborts the process inside Wasmtime.
struct EngineOptions {
  Tier tier = Tier::kOptimised;
  bool fuel = false;  // count instructions; costs speed, gives the same answer on every machine
  size_t wasm_stack_bytes = 512 * 1024;
  // Threads inside one compile.  Not in a process that forks later: a compile hangs in the child.
  bool parallel_compile = false;
  // Memories reserve what they may grow to, not 4 GiB each, and code checks bounds: for hosts that are short
  // of address space.
  bool compact_memories = false;
  // The optimised tier weighs the size of code, too, and not its speed alone (Cranelift: speed_and_size).
  bool compact_code = false;
};

// How much of a module was needed so far, where functions are translated one by one.
struct LazyStatistics {
  uint64_t functions = 0;          // that the module defines
  uint64_t translated = 0;         // the others were never needed
  uint64_t calls = 0;              // from the host
  uint64_t calls_translating = 0;  // that came to a function which was not translated yet
  double hit_rate() const {
    return calls == 0 ? 0 : 1 - static_cast<double>(calls_translating) / static_cast<double>(calls);
  }
};

// Compiled code of one module for one engine.  Immutable; may be shared by threads; keeps its engine alive.
class CompiledCode {
 public:
  struct Import {
    std::string module;
    std::string name;
    ExternKind kind;
    FuncType type;  // of functions
  };
  struct Export {
    std::string name;
    ExternKind kind;
    FuncType type;  // of functions
  };

  // Of the module as it was, before it was prepared.
  const Digest& module_hash() const { return module_hash_; }
  uint32_t preparer() const { return preparer_; }
  const std::vector<Import>& imports() const { return imports_; }
  const std::vector<Export>& exports() const { return exports_; }
  // The exported function of that name; null if there is none.
  const Export* exported_function(std::string_view name) const;
  const class Engine& engine() const { return *engine_; }
  // Bytes of native code and its tables, as mapped; 0 if it is interpreted.
  size_t native_bytes() const;
  // Nothing: all of it is compiled.
  std::optional<LazyStatistics> lazy() const;

  // False: it was lost by a fork, as another thread was interpreting it then.
  bool usable() const;

  // The code as bytes, to be loaded by an engine of the same options and version on the same kind of CPU.
  // docs/formats/code.md.  kUnsupported: it is interpreted.
  Result<std::vector<uint8_t>> save() const;

  // The same without a header, for those who keep their own account of it: Engine::load_native.
  Result<std::vector<uint8_t>> native() const;

  // Null: it is interpreted.
  wasmtime_module* handle() const { return handle_.get(); }
  // Null: it is not.
  const std::shared_ptr<const InterpretedCode>& interpreted() const { return interpreted_; }

  struct DeleteModule {
    void operator()(wasmtime_module* module) const noexcept;
  };
  using Handle = std::unique_ptr<wasmtime_module, DeleteModule>;
  CompiledCode(std::shared_ptr<const Engine> engine, Handle handle, const Digest& module_hash,
               uint32_t preparer);
  CompiledCode(std::shared_ptr<const Engine> engine, std::shared_ptr<const InterpretedCode> interpreted,
               const Digest& module_hash, uint32_t preparer);
  ~CompiledCode();

 private:
  void order_exports();

  std::shared_ptr<const Engine> engine_;
  Handle handle_;
  std::shared_ptr<const InterpretedCode> interpreted_;
  Digest module_hash_;
  uint32_t preparer_;
  std::vector<Import> imports_;
  std::vector<Export> exports_;
  std::vector<uint32_t> by_name_;  // places of exports_, in order of their names
};

// One compiler, or the interpreter, with one set of options.  Thread-safe: all that it does is const.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  // kInvalidArgument: a stack size out of range.  Engines may share a ticker, and slots.
  static Result<std::shared_ptr<const Engine>> create(
      const EngineOptions& options, std::shared_ptr<Ticker> ticker,
      std::shared_ptr<memory::SlotPool> slots = memory::SlotPool::create(kSlotsKept));
  static constexpr size_t kSlotsKept = 16;
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EngineOptions& options() const { return options_; }
  Ticker& ticker() const { return *ticker_; }
  memory::SlotPool& slots() const { return *slots_; }

  // kInvalidModule: not valid for this engine.  kUnsupported: valid, but this tier's compiler lacks
  // something it needs.
  // `hash` is the module's, from whoever knows it already.  `preparer`: the version of the preparer that made
  // `wasm` of that module; 0: it is the module itself.
  Result<std::shared_ptr<const CompiledCode>> compile(std::span<const uint8_t> wasm,
                                                      const std::optional<Digest>& hash = {},
                                                      uint32_t preparer = 0) const;

  // Code that save() wrote.  Native code is as trusted as a shared library: whoever can write these bytes
  // can do all that this process can.  kCorruption, kUnsupported: another version, engine or CPU;
  // kInvalidArgument: made from another module than `module_hash`.
  Result<std::shared_ptr<const CompiledCode>> load_trusted_code(std::span<const uint8_t> bytes,
                                                                const Digest& module_hash,
                                                                uint32_t preparer = 0) const;

  // What native() gave, as a whole file: mapped, not read.  Nobody may write to that file as long as the code
  // lives: a sealed memfd.  As trusted as load_trusted_code().  kUnsupported: another version, engine or CPU;
  // kCorruption is found only by chance: whoever gives this compares a MAC first.
  Result<std::shared_ptr<const CompiledCode>> load_native(int fd, const Digest& module_hash,
                                                          uint32_t preparer) const;
  // For people, and to the letter what saved code must have been made by: version and options.
  std::string description(uint32_t preparer) const;
  // Equal for engines that can load each other's code, in this or another process: version, compiler, all of
  // its settings and what this CPU can do.
  const Digest& compatibility() const { return compatibility_; }

  wasm_engine_t* handle() const { return handle_; }  // null: the interpreter
  // For the layer's own use.
  ForkGuard& fork_guard() const { return *fork_guard_; }

 private:
  Engine(const EngineOptions& options, std::shared_ptr<Ticker> ticker,
         std::shared_ptr<memory::SlotPool> slots, wasm_engine_t* handle);

  EngineOptions options_;
  std::shared_ptr<Ticker> ticker_;  // thread-safe; shared by engines, kept by whoever still runs code
  std::shared_ptr<memory::SlotPool> slots_;  // thread-safe
  std::unique_ptr<ForkGuard> fork_guard_;
  wasm_engine_t* handle_;
  Digest compatibility_;
};

// The version of Wasmtime that is linked in: part of the key of saved code.
std::string_view engine_version();

// WebAssembly text to bytes.  kInvalidModule with line and column; kUnsupported in a build without it.
Result<std::vector<uint8_t>> text_to_wasm(std::string_view text);

}  // namespace spore::engine

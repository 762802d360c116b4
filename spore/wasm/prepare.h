#pragma once

// The preparer: rewrites a module once so that all of its state can be held from outside, by whoever owns
// its memory.  No engine is needed; nothing is executed.  Why it is so: docs/decisions/0007-preparer.md.
//
// A prepared module exports, beside what it exported before (N: the index that the original has for it):
//
//   spore:mN      a memory that it defines
//   spore:tN      a table that it defines
//   spore:gN      a mutable global that it defines
//   spore:dN      a mutable i32: 1 once code has dropped passive data segment N, else 0
//   spore:eN      the same for passive element segment N
//   spore:fN      a function that its tables may hold, if its code writes to one of them
//   spore:start   its start function, which instantiation does not call any more
//
// Its instance becomes what an instance of the original is by two steps: write `lifted`, in order, then call
// spore:start, if there is one.  Only then may anybody see it (so `_initialize` comes after that, too).

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/wasm/inspect.h"

namespace spore::wasm {

// Grows whenever the same module is prepared differently: part of every name that is made from a prepared
// module, such as that of its code in a cache.
inline constexpr uint32_t kPreparerVersion = 3;

inline constexpr std::string_view kReservedPrefix = "spore:";
inline constexpr std::string_view kStartExport = "spore:start";

// What a module may use and be prepared: not what puts references anywhere but into tables of funcref.
inline constexpr uint32_t kProposalsPreparable =
    kProposalsOptimised | kThreads | kWideArithmetic | kCustomPageSizes;

enum class ResetMode : uint8_t {
  kInPlace,        // what PreparedModule lists is all of the state
  kReinstantiate,  // it is not: a clean instance is a new one
};
std::string_view reset_mode_name(ResetMode mode);  // "in_place", "reinstantiate"

struct PreparedModule {
  struct Memory {
    uint32_t index = 0;
    bool is_64 = false;
    bool shared = false;
    uint32_t page_bytes = 0;  // 65536, or what the module says
    uint64_t pages_min = 0;   // at the start
    std::optional<uint64_t> pages_max;
    std::string export_name() const;
  };
  struct Table {
    uint32_t index = 0;
    bool is_64 = false;
    // It may come to differ from what instantiation makes: code writes to it, or it is exported, so that
    // others can.  All others are constant.
    bool changes = false;
    bool written = false;  // code of this module writes to it: table.set, grow, fill, copy, init
    bool grows = false;    // it may have more elements than `elements_min`; no table shrinks
    uint64_t elements_min = 0;
    std::optional<uint64_t> elements_max;
    std::string export_name() const;
  };
  enum class GlobalKind : uint8_t { kI32, kI64, kF32, kF64, kV128, kReference };
  struct Global {
    uint32_t index = 0;
    GlobalKind kind = GlobalKind::kI32;
    // Its bits, little-endian.  Nothing: it depends on an import, or is a reference.
    std::optional<std::array<uint8_t, 16>> initial;
    std::string export_name() const;
  };
  struct Data {
    uint32_t memory = 0;
    uint64_t offset = 0;
    uint64_t file_offset = 0;  // where its bytes stand in the original
    std::vector<uint8_t> bytes;
  };

  ModuleFacts facts;          // of the module as it was, with its hash
  std::vector<uint8_t> wasm;  // as it is now; valid

  // Where Binaryen's asyncify, which rewrote this module, keeps its state: two of `globals`.
  struct Asyncify {
    uint32_t state_global = 0;  // 0 runs, 1 unwinds its stack, 2 rewinds it
    uint32_t data_global = 0;   // address of {i32 current, i32 end}, between which saved frames lie
  };
  std::optional<Asyncify> asyncify;  // nothing: it did not, or not in a way that is known here

  // All state that it defines.
  std::vector<Memory> memories;
  std::vector<Table> tables;
  std::vector<Global> globals;          // the mutable ones; without the flags of segments
  std::vector<uint32_t> data_flags;     // N of each spore:dN; 0 at the start
  std::vector<uint32_t> element_flags;  // N of each spore:eN; 0 at the start
  bool has_memory_grow = false;         // whether code contains memory.grow

  // N of each spore:fN, ascending, if a table is `written`: all functions, imported ones too, that this
  // module can refer to.  By these numbers an entry of one instance can be told to another.  An entry has
  // none if its reference came from outside: in an imported global, an argument, a result, by an exported
  // table.
  std::vector<uint32_t> table_functions;
  static std::string table_function_name(uint32_t index);  // "spore:f7"

  // What is to be written into fresh memories: the active data segments, or none of them.
  std::vector<Data> lifted;
  std::string not_lifted;  // why none; empty if they were, or there are none

  uint32_t functions_rewritten = 0;
  uint32_t functions_added = 0;  // behind all others

  // Why a used instance cannot be made as new from outside: what it shares with others, what cannot be saved.
  std::vector<std::string> reset_reasons;
  ResetMode reset() const { return reset_reasons.empty() ? ResetMode::kInPlace : ResetMode::kReinstantiate; }
};

// All of it but the bytes.
PreparedModule facts_of(const PreparedModule& module);

// Prepares `wasm`.  All indices keep their meaning, types, functions, segments; custom sections are kept.
// A module with nothing to rewrite or export comes out as it was, in meaning.
// What inspect() says; kUnsupported: it uses a proposal outside kProposalsPreparable; kInvalidModule: a name
// of its imports or exports begins with "spore:", as those of a prepared one do; kLimitExceeded: longer than
// `bytes_max`, or what is added passes a limit of WebAssembly's implementations (as of 100,000 segments).
// If it is the table functions that pass it, they are left out: then that is one of the `reset_reasons`.
// Memory used, and the result, are at most a constant times the length.
Result<PreparedModule> prepare(std::span<const uint8_t> wasm, size_t bytes_max);

}  // namespace spore::wasm

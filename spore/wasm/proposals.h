#pragma once

#include <cstdint>
#include <string>

namespace spore::wasm {

// What was added to WebAssembly since its first version, a bit each.  rust/src/inspect.rs has the same list.
enum Proposal : uint32_t {
  kMutableGlobals = 1u << 0,
  kSaturatingFloatToInt = 1u << 1,
  kSignExtension = 1u << 2,
  kMultiValue = 1u << 3,
  kBulkMemory = 1u << 4,
  kReferenceTypes = 1u << 5,
  kSimd = 1u << 6,
  kRelaxedSimd = 1u << 7,
  kTailCall = 1u << 8,
  kExtendedConst = 1u << 9,
  kMultiMemory = 1u << 10,
  kMemory64 = 1u << 11,
  kThreads = 1u << 12,
  kExceptions = 1u << 13,
  kGc = 1u << 14,
  kFunctionReferences = 1u << 15,
  kWideArithmetic = 1u << 16,
  kCustomPageSizes = 1u << 17,
  kExternref = 1u << 18,
  kOtherProposal = 1u << 19,
};

// What a module may use on the optimising compiler, and on the baseline compiler.  Function references,
// GC and exceptions are left out: their references could not be captured (docs/design.md, section 1).
inline constexpr uint32_t kProposalsOptimised =
    kMutableGlobals | kSaturatingFloatToInt | kSignExtension | kMultiValue | kBulkMemory | kReferenceTypes |
    kSimd | kRelaxedSimd | kTailCall | kExtendedConst | kMultiMemory | kMemory64;
// Relaxed SIMD may give another result there than in the compilers.
inline constexpr uint32_t kProposalsInterpreter = kProposalsOptimised & ~kRelaxedSimd;
inline constexpr uint32_t kProposalsBaseline = kProposalsOptimised & ~(kRelaxedSimd | kTailCall);

// "simd, tail-call": the names that the proposals go by.
std::string proposal_names(uint32_t proposals);

}  // namespace spore::wasm

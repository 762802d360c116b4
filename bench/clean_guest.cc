#include "bench/clean_guest.h"

#include <string>

#include <fmt/format.h>

#include "spore/engine/engine.h"

namespace spore::bench {
namespace {

constexpr uint32_t kPageBytes = 4096;
constexpr uint32_t kWasmPageBytes = 64 * 1024;
constexpr uint32_t kStackFirstHeap = 1'300'000;

// One word in each page that a call writes.
std::vector<uint32_t> write_addresses(Layout layout, uint32_t pages) {
  constexpr uint32_t kStack = kGuestStackPointer;
  if (layout == Layout::kStackFirst && pages == 3) return {kStack - 256, kStack + 512, kStackFirstHeap};
  std::vector<uint32_t> addresses;
  for (uint32_t i = 0; i < pages; i++) {
    addresses.push_back(layout == Layout::kLow ? i * kPageBytes : kStack + (i * 5 - 2) * kPageBytes);
  }
  return addresses;
}

// Writes at `mine` past each address, and ors what stands at `other` past it into $dirty.
std::string write_and_check(const std::vector<uint32_t>& addresses) {
  std::string text;
  for (const uint32_t address : addresses) {
    text += fmt::format(R"(
    (i32.store offset={0} (local.get $mine) (i32.const -1))
    (local.set $dirty (i32.or (local.get $dirty) (i32.load offset={0} (local.get $other)))))",
                        address);
  }
  return text;
}

std::string function(std::string_view name, std::string_view body) {
  return fmt::format(R"(
  (func (export "{}") (param $arg i32) (result i32)
    (local $mine i32) (local $other i32) (local $dirty i32)
    (local.set $mine (i32.shl (i32.and (local.get $arg) (i32.const 1)) (i32.const 3)))
    (local.set $other (i32.xor (local.get $mine) (i32.const 8)))
    (local.set $dirty (i32.or (global.get $calls) (i32.xor (global.get $sp) (i32.const {}))))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (global.set $sp (i32.sub (global.get $sp) (i32.const 256))){}
    (i32.add (local.get $arg) (local.get $dirty))))",
                     name, kGuestStackPointer, body);
}

}  // namespace

std::string_view layout_name(Layout layout) { return layout == Layout::kLow ? "low" : "stack_first"; }

std::vector<uint8_t> clean_guest(Layout layout, uint32_t wasm_pages) {
  const uint32_t data = layout == Layout::kLow ? 1024 : kGuestStackPointer;
  std::string text = fmt::format(R"((module
  (memory (export "memory") {})
  (global $sp (export "sp") (mut i32) (i32.const {}))
  (global $calls (export "calls") (mut i32) (i32.const 0))
  (data (i32.const {}) "hello"))",
                                 wasm_pages, kGuestStackPointer, data);
  for (const uint32_t pages : {3U, 64U}) {
    text += function(fmt::format("write{}", pages), write_and_check(write_addresses(layout, pages)));
  }
  std::vector<uint32_t> grown;
  for (uint32_t at = 0; at < kWasmPageBytes; at += kPageBytes) {
    grown.push_back(wasm_pages * kWasmPageBytes + at);
  }
  text += function("grow", fmt::format(R"(
    (local.set $dirty (i32.or (local.get $dirty)
      (i32.xor (memory.grow (i32.const 1)) (i32.const {})))){})",
                                       wasm_pages, write_and_check(grown)));
  text += R"(
  (func (export "fill") (param $bytes i32)
    (memory.fill (i32.const 0) (i32.const 1) (local.get $bytes)))))";
  return engine::text_to_wasm(text).value();
}

}  // namespace spore::bench

#pragma once

// Modules that are small and dear to compile.

#include <cstdint>
#include <string_view>
#include <vector>

namespace spore::test {

using Wasm = std::vector<uint8_t>;

inline void append(Wasm& to, const Wasm& bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

inline void append_leb(Wasm& to, uint64_t value) {
  constexpr uint64_t kMore = 0x80;
  while (value >= kMore) {
    to.push_back(static_cast<uint8_t>(value | kMore));
    value >>= 7;
  }
  to.push_back(static_cast<uint8_t>(value));
}

inline Wasm section(uint8_t number, const Wasm& content) {
  Wasm all{number};
  append_leb(all, content.size());
  append(all, content);
  return all;
}

// `count` times `bytes`.
inline Wasm repeated(uint64_t count, const Wasm& bytes) {
  Wasm all;
  all.reserve(count * bytes.size());
  for (uint64_t i = 0; i < count; i++) append(all, bytes);
  return all;
}

// A module of `functions` equal ones of type 0, a memory of one page and a global of i32.  `body` is without
// its length and its last `end`.
inline Wasm module_of(uint64_t functions, const Wasm& locals, const Wasm& code,
                      const Wasm& type = {0x60, 0x00, 0x00}) {
  Wasm types{1};
  append(types, type);
  Wasm declared;
  append_leb(declared, functions);
  declared.resize(declared.size() + functions, 0);
  Wasm body;
  append_leb(body, locals.size() + code.size() + 1);
  append(body, locals);
  append(body, code);
  body.push_back(0x0B);
  Wasm bodies;
  append_leb(bodies, functions);
  bodies.reserve(functions * body.size());
  for (uint64_t i = 0; i < functions; i++) append(bodies, body);

  Wasm wasm{0x00, 'a', 's', 'm', 1, 0, 0, 0};
  append(wasm, section(1, types));
  append(wasm, section(3, declared));
  append(wasm, section(5, {1, 0, 1}));
  append(wasm, section(6, {1, 0x7F, 1, 0x41, 0, 0x0B}));
  append(wasm, section(10, bodies));
  return wasm;
}

inline constexpr uint8_t kI32 = 0x7F;
inline constexpr uint8_t kV128 = 0x7B;

inline Wasm locals_of(uint64_t count, uint8_t type) {
  Wasm locals{1};
  append_leb(locals, count);
  locals.push_back(type);
  return locals;
}

// Eight bytes of code for each local: all of them are zeroed at entry.
inline Wasm many_locals(uint64_t functions, uint64_t locals, uint8_t type) {
  return module_of(functions, locals_of(locals, type), {});
}

inline Wasm empty_functions(uint64_t functions) { return module_of(functions, {0}, {}); }

// One function without a jump, of about that many bytes: sums, each of which is stored where the next one
// says.
inline Wasm straight_line(uint64_t bytes) {
  const Wasm step{0x20, 0,        // x
                  0x20, 0,        // memory[x] = memory[x] + x
                  0x28, 2,    0,  //
                  0x20, 0,        //
                  0x6A, 0x22, 0,  // x = that
                  0x36, 2,    0};
  return module_of(1, locals_of(1, kI32), repeated(bytes / step.size(), step));
}

// `depth` blocks (or loops, if so) in one another.
inline Wasm nested(uint64_t depth, bool loops = false) {
  Wasm code = repeated(depth, {static_cast<uint8_t>(loops ? 0x03 : 0x02), 0x40});
  append(code, repeated(depth, {0x0B}));
  return module_of(1, {0}, code);
}

// One br_table with that many targets, two different ones.
inline Wasm br_table(uint64_t targets) {
  Wasm code{0x02, 0x40, 0x02, 0x40, 0x23, 0, 0x0E};
  append_leb(code, targets);
  for (uint64_t i = 0; i < targets; i++) code.push_back(i % 2 == 0 ? 0 : 1);
  append(code, {1, 0x0B, 0x0B});
  return module_of(1, {0}, code);
}

// `functions` that each call themselves `calls` times; a call takes and gives 1,000 values in two bytes.
inline Wasm many_values(uint64_t functions, uint64_t calls) {
  constexpr uint64_t kValues = 1000;
  Wasm type{0x60};
  append_leb(type, kValues);
  append(type, Wasm(kValues, kI32));
  append_leb(type, kValues);
  append(type, Wasm(kValues, kI32));
  Wasm code;
  for (uint64_t i = 0; i < kValues; i++) {
    code.push_back(0x20);
    append_leb(code, i);
  }
  append(code, repeated(calls, {0x10, 0}));
  return module_of(functions, {0}, code, type);
}

// Nested loops in whose middle many locals are used: in each loop each of them is a value of its own.
inline Wasm locals_in_loops(uint64_t locals, uint64_t depth) {
  Wasm code = repeated(depth, {0x03, 0x40});
  for (uint64_t i = 0; i < locals; i++) {
    for (const uint8_t op : {0x20, 0x22}) {  // local.get, local.tee
      code.push_back(op);
      append_leb(code, i);
    }
    code.push_back(0x1A);
  }
  append(code, repeated(depth, {0x23, 0, 0x0D, 0, 0x0B}));  // br_if back
  return module_of(1, locals_of(locals, kI32), code);
}

// Six bytes each, for which code is made that writes one byte at instantiation.
inline Wasm data_segments(uint64_t segments) {
  Wasm wasm = module_of(1, {0}, {});
  Wasm data;
  append_leb(data, segments);
  append(data, repeated(segments, {0, 0x41, 0, 0x0B, 1, 1}));
  append(wasm, section(11, data));
  return wasm;
}

// Values on the stack, all of which are locals that are then set: each is looked for on all of the stack.
inline Wasm deep_stack(uint64_t values) {
  Wasm code = repeated(values, {0x20, 0});
  append(code, repeated(values, {0x21, 1}));
  return module_of(1, locals_of(2, kI32), code);
}

}  // namespace spore::test

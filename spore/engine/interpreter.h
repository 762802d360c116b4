#pragma once

// The interpreter's C interface, as rust/src/interpreter.rs has it.  Internal to engine/.

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" {

struct InterpretedModule;
struct InterpretedStore;
struct InterpretedFunction;

struct InterpretedText {
  const uint8_t* data;
  size_t size;
};

struct InterpretedItem {
  InterpretedText module;
  InterpretedText name;
  uint8_t kind;            // 0 function, 1 global, 2 table, 3 memory
  InterpretedText params;  // numbers of ValType
  InterpretedText results;
};

enum InterpretedFailed : uint8_t {
  kFailedTrap = 1,     // `trap` says which
  kFailedStopped = 2,  // a callback said so, and knows why
  kFailedError = 3,
  kFailedInvalid = 4,
  kFailedUnsupported = 5,
  kFailedPanic = 6,
};

struct InterpretedFailure {
  uint8_t what;  // InterpretedFailed
  uint8_t trap;
  uint16_t message_bytes;
  uint8_t message[500];
};

struct InterpretedNewMemory {
  uint32_t index;
  bool is_64;
  uint64_t page_bytes;
  uint64_t bytes_min;
  uint64_t bytes_max;
};

struct InterpretedMadeMemory {
  uint8_t* base;
  uint64_t capacity;
  uint64_t bytes;
};

struct InterpretedHost {
  void* env;
  bool (*new_memory)(void* env, const InterpretedNewMemory* wanted, InterpretedMadeMemory* made);
  bool (*memories_made)(void* env);
  bool (*grow_memory)(void* env, uint8_t* base, uint64_t bytes);
  bool (*call)(void* env, const void* function, void* caller, void* values);
  bool (*go_on)(void* env);
  uint64_t table_elements_max;
  uint32_t tables_max;
  uint32_t memories_max;
  uint32_t instances_max;
  bool counts_fuel;
};

struct InterpretedImport {
  const void* function;
  uint8_t kind;
  uint64_t handle;
};

struct InterpretedFound {
  uint8_t kind;
  uint64_t handle;
};

struct InterpretedStatistics {
  uint64_t functions;
  uint64_t translated;
  uint64_t calls;
  uint64_t calls_translating;
  uint64_t wasm_bytes;
};

InterpretedModule* spore_interpreted_new(const uint8_t* wasm, size_t len, size_t stack_bytes,
                                         InterpretedFailure* failure);
void spore_interpreted_delete(InterpretedModule* module);
size_t spore_interpreted_imports(const InterpretedModule* module, const InterpretedItem** items);
size_t spore_interpreted_exports(const InterpretedModule* module, const InterpretedItem** items);
void spore_interpreted_statistics(const InterpretedModule* module, InterpretedStatistics* statistics);

InterpretedStore* spore_interpreted_store_new(const InterpretedModule* module, const InterpretedHost* host);
void spore_interpreted_store_delete(InterpretedStore* store);
bool spore_interpreted_instantiate(InterpretedStore* store, const InterpretedModule* module,
                                   const InterpretedImport* imports, size_t len, uint32_t* number,
                                   InterpretedFailure* failure);
bool spore_interpreted_start(InterpretedStore* store, uint32_t member, InterpretedFailure* failure);
bool spore_interpreted_export(InterpretedStore* store, uint32_t member, const char* name, size_t len,
                              InterpretedFound* found);
InterpretedFunction* spore_interpreted_function(InterpretedStore* store, uint32_t member, const char* name,
                                                size_t len);
bool spore_interpreted_call(InterpretedStore* store, const InterpretedFunction* function, void* values,
                            InterpretedFailure* failure);
bool spore_interpreted_translate(InterpretedStore* store, uint32_t member, uint32_t index);

// What the global holds, as a number of ValType.
uint8_t spore_interpreted_global_get(InterpretedStore* store, uint64_t global, void* value);
bool spore_interpreted_global_set(InterpretedStore* store, uint64_t global, uint8_t type, const void* value);
uint8_t* spore_interpreted_memory(InterpretedStore* store, uint64_t memory, uint64_t* bytes);
uint8_t* spore_interpreted_caller_memory(InterpretedStore* store, const char* name, size_t len,
                                         uint64_t* bytes);
bool spore_interpreted_memory_grow(InterpretedStore* store, uint64_t memory, uint64_t delta);
uint64_t spore_interpreted_table_size(InterpretedStore* store, uint64_t table);
bool spore_interpreted_table_read(InterpretedStore* store, uint64_t table, uint64_t* elements, size_t len);
bool spore_interpreted_table_write(InterpretedStore* store, uint64_t table, const uint64_t* elements,
                                   size_t len);
bool spore_interpreted_table_grow(InterpretedStore* store, uint64_t table, uint64_t delta);
void spore_interpreted_set_fuel(InterpretedStore* store, uint64_t fuel);
uint64_t spore_interpreted_fuel(InterpretedStore* store);
void spore_interpreted_interrupt(InterpretedStore* store);
// Fuel between two looks at the deadline, for tests; of the whole process.
void spore_interpreted_set_slice(uint64_t fuel);

}  // extern "C"

;; Imports that nobody provides, of every kind, one that the host has with another type, and one that it has.
(module
  (import "env" "first" (func (param i32) (result i32)))
  (import "env" "memory" (memory 1))
  (import "env" "table" (table 1 funcref))
  (import "env" "base" (global i32))
  (import "spore" "log" (func (param i64)))
  (import "spore" "log" (func (param i32 i32)))
  (import "other" "last" (func (result f64)))
  (func (export "run")))

;; A program: logs what it is about to do, then does it.  "wait" never ends, so that somebody can interrupt it
;; when the line was seen.
(module
  (import "spore" "log" (func $log (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "started")
  (func $start (export "_start") (call $log (i32.const 0) (i32.const 7)))
  (func (export "wait") (call $start) (loop $again (br $again))))

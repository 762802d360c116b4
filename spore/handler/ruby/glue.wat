;; Makes of ruby.wasm, a library for JavaScript, one that answers requests.  It exports two functions () -> ():
;;   wizer.initialize   boots Ruby and the runner, which loads a handler if standard input has one
;;   spore_request      has the runner take a message from standard input
;; tools/guests.sh puts the text of runner.rb in here and merges this with ruby.wasm; what the result exports is
;; these two, its memory and `_initialize`, which the host has to call before.
;;
;; Strings and lists cross as they did in WebAssembly's interface types of 2022: a string as address and bytes,
;; with a zero byte behind it that does not count; a list as address and number of its elements.  They lie in
;; blocks of Ruby's allocator, for good.
(module
  (import "ruby" "memory" (memory 1))
  (import "ruby" "cabi_realloc"
    (func $realloc (param $from i32) (param $from_bytes i32) (param $alignment i32) (param $bytes i32) (result i32)))
  (import "ruby" "ruby-init: func(args: list<string>) -> ()" (func $ruby_init (param i32 i32)))
  (import "ruby" "rb-intern: func(name: string) -> u32" (func $intern (param i32 i32) (result i32)))
  ;; Both give the address of a value and of a state, which is 0 if no exception was raised.
  (import "ruby" "rb-eval-string-protect: func(str: string) -> tuple<handle<rb-abi-value>, s32>"
    (func $eval (param i32 i32) (result i32)))
  (import "ruby" "rb-funcallv-protect: func(recv: handle<rb-abi-value>, mid: u32, args: list<handle<rb-abi-value>>) -> tuple<handle<rb-abi-value>, s32>"
    (func $send (param $receiver i32) (param $method i32) (param i32 i32) (result i32)))

  ;; Passive: nothing is put where Ruby has data of its own.  Without -e it would read standard input for a
  ;; program.
  (data $words "ruby.wasm\00" "--disable=gems\00" "-e_=0\00" "step\00")  ;; at 0, 10, 25, 31; 36 bytes
  (data $runner "@RUNNER@\00")

  (global $module (mut i32) (i32.const 0))  ;; SporeRunner
  (global $step (mut i32) (i32.const 0))    ;; the name of its method

  (func $block (param $bytes i32) (result i32)
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (local.get $bytes)))

  (func $set_string (param $element i32) (param $address i32) (param $bytes i32)
    (i32.store (local.get $element) (local.get $address))
    (i32.store offset=4 (local.get $element) (local.get $bytes)))

  ;; The value that $eval or $send gave.  The runner has told its errors, and ended the program, itself.
  (func $value_of (param $result i32) (result i32)
    (if (i32.load offset=4 (local.get $result)) (then (unreachable)))
    (i32.load (local.get $result)))

  (func $take_message (export "spore_request")
    (drop (call $value_of
      (call $send (global.get $module) (global.get $step) (i32.const 0) (i32.const 0)))))

  (func (export "wizer.initialize")
    (local $words i32) (local $args i32) (local $runner i32)
    (local.set $words (call $block (i32.const 36)))
    (memory.init $words (local.get $words) (i32.const 0) (i32.const 36))
    (local.set $args (call $block (i32.const 24)))
    (call $set_string (local.get $args) (local.get $words) (i32.const 9))
    (call $set_string
      (i32.add (local.get $args) (i32.const 8)) (i32.add (local.get $words) (i32.const 10)) (i32.const 14))
    (call $set_string
      (i32.add (local.get $args) (i32.const 16)) (i32.add (local.get $words) (i32.const 25)) (i32.const 5))
    (call $ruby_init (local.get $args) (i32.const 3))

    (global.set $step (call $intern (i32.add (local.get $words) (i32.const 31)) (i32.const 4)))
    (local.set $runner (call $block (i32.const @RUNNER_BYTES@)))
    (memory.init $runner (local.get $runner) (i32.const 0) (i32.const @RUNNER_BYTES@))
    (global.set $module (call $value_of
      (call $eval (local.get $runner) (i32.sub (i32.const @RUNNER_BYTES@) (i32.const 1)))))
    (call $take_message)))

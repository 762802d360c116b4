// The guest of the conformance table in Go: each function gives back what it gets.
package main

import "udf/spore"

func main() {} // never called

//go:wasmexport echo-bool
func echoBool(v int32) int32 { return v }

//go:wasmexport echo-s8
func echoS8(v int32) int32 { return v }

//go:wasmexport echo-u8
func echoU8(v uint32) uint32 { return v }

//go:wasmexport echo-s16
func echoS16(v int32) int32 { return v }

//go:wasmexport echo-u16
func echoU16(v uint32) uint32 { return v }

//go:wasmexport echo-s32
func echoS32(v int32) int32 { return v }

//go:wasmexport echo-u32
func echoU32(v uint32) uint32 { return v }

//go:wasmexport echo-s64
func echoS64(v int64) int64 { return v }

//go:wasmexport echo-u64
func echoU64(v uint64) uint64 { return v }

//go:wasmexport echo-f32
func echoF32(v float32) float32 { return v }

//go:wasmexport echo-f64
func echoF64(v float64) float64 { return v }

//go:wasmexport echo-char
func echoChar(v int32) int32 { return v }

//go:wasmexport echo-string
func echoString(v *byte, size uint32) *spore.Area { return spore.ReturnString(spore.String(v, size)) }

//go:wasmexport cabi_post_echo-string
func echoStringIsRead(*spore.Area) { spore.Release() }

//go:wasmexport echo-bytes
func echoBytes(v *byte, size uint32) *spore.Area { return spore.ReturnBytes(spore.Bytes(v, size)) }

//go:wasmexport cabi_post_echo-bytes
func echoBytesIsRead(*spore.Area) { spore.Release() }

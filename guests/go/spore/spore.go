// Package spore is what typed functions for Spore in Go are written with: one file.  It implements the Component Model's canonical
// ABI, by which strings and bytes cross to a core module, and wraps the document of a search or row.
//
//	//go:wasmexport rank
//	func rank(text *byte, size uint32, boost float64) float64 { // rank: func(text: string, boost: f64) -> f64
//		return float64(len(spore.String(text, size))) * boost
//	}
//
//	//go:wasmexport shout
//	func shout(text *byte, size uint32) *spore.Area { // shout: func(text: string) -> string
//		return spore.ReturnString(strings.ToUpper(spore.String(text, size)))
//	}
//
//	//go:wasmexport cabi_post_shout
//	func shoutIsRead(*spore.Area) { spore.Release() }
//
// Flat types: bool, s8 ... s32 and char are int32, u8 ... u32 uint32, s64 int64, u64 uint64, f32 float32, f64 float64; a string or
// list<u8> is two parameters, *byte and uint32.
package spore

import (
	"structs"
	"unsafe"
)

// What the host asked memory for and no function has taken yet: this keeps it alive.  Go moves nothing that it has allocated.
var given [][]byte

// The result that the host has not read yet.
var (
	result      Area
	resultText  string
	resultBytes []byte
)

// Area is where the host finds a result that lies in memory.
type Area = list

func address(memory *byte) uint32 { return uint32(uintptr(unsafe.Pointer(memory))) }

//go:wasmexport cabi_realloc
func cabiRealloc(old uint32, oldSize, align, size uint32) uint32 {
	words := make([]uint64, uint64(size)/8+1) // aligned to 8, and never empty
	memory := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	copy(memory[:size], take(old, oldSize))
	given = append(given, memory)
	return address(&memory[0])
}

// take gives the memory there to the garbage collector: whoever has the result keeps it alive.
func take(data, size uint32) []byte {
	for i := len(given) - 1; i >= 0; i-- {
		if address(&given[i][0]) == data {
			last := len(given) - 1
			memory := given[i][:size:size]
			given[i], given[last] = given[last], nil
			given = given[:last]
			return memory
		}
	}
	if size > 0 {
		panic("spore: a parameter that was taken already, or that the host has no memory for")
	}
	return nil
}

// String is a parameter that is a string; to be called once for each.
func String(data *byte, size uint32) string {
	bytes := take(address(data), size)
	return unsafe.String(unsafe.SliceData(bytes), len(bytes))
}

// Bytes is a parameter that is a list<u8>; to be called once for each.
func Bytes(data *byte, size uint32) []byte { return take(address(data), size) }

// ReturnString is for the end of a function whose result is a string.  cabi_post_NAME is to call Release.
func ReturnString(text string) *Area {
	resultText = text
	result.data, result.size = address(unsafe.StringData(text)), uint32(len(text))
	return &result
}

// ReturnBytes is the same for a list<u8>.
func ReturnBytes(bytes []byte) *Area {
	resultBytes = bytes
	result.data, result.size = address(unsafe.SliceData(bytes)), uint32(len(bytes))
	return &result
}

// Release lets go of the result.
func Release() { result, resultText, resultBytes = Area{}, "", nil }

// --- the document that a function is called for; names are paths: price.amount, tags[0] ---

type list struct {
	_    structs.HostLayout
	data uint32 // an address
	size uint32
}

// Where the host puts what it answers.
var (
	aList list
	aText struct {
		_      structs.HostLayout
		isSome bool
		value  list
	}
	anInt64 struct {
		_      structs.HostLayout
		isSome bool
		_      [7]byte
		value  int64
	}
	aFloat64 struct {
		_      structs.HostLayout
		isSome bool
		_      [7]byte
		value  float64
	}
	aBool struct {
		_      structs.HostLayout
		isSome bool
		value  bool
	}
)

//go:wasmimport spore:document/fields get-string
func getString(name string, value unsafe.Pointer)

//go:wasmimport spore:document/fields get-s64
func getS64(name string, value unsafe.Pointer)

//go:wasmimport spore:document/fields get-f64
func getF64(name string, value unsafe.Pointer)

//go:wasmimport spore:document/fields get-bool
func getBool(name string, value unsafe.Pointer)

//go:wasmimport spore:document/fields get-bytes
func getBytes(name string, value unsafe.Pointer)

//go:wasmimport spore:document/fields document-id
func documentID(value unsafe.Pointer)

//go:wasmimport spore:document/fields score
func score() float64

//go:wasmimport spore:document/fields field-names
func fieldNames(value unsafe.Pointer)

// GetString is the field's text; false: it is absent or no string.
func GetString(name string) (string, bool) {
	getString(name, unsafe.Pointer(&aText))
	if !aText.isSome {
		return "", false
	}
	return string(taken(aText.value)), true
}

// GetInt64 is the same for an s64.
func GetInt64(name string) (int64, bool) {
	getS64(name, unsafe.Pointer(&anInt64))
	return anInt64.value, anInt64.isSome
}

// GetFloat64 is the same for an f64.
func GetFloat64(name string) (float64, bool) {
	getF64(name, unsafe.Pointer(&aFloat64))
	return aFloat64.value, aFloat64.isSome
}

// GetBool is the same for a bool.
func GetBool(name string) (value bool, ok bool) {
	getBool(name, unsafe.Pointer(&aBool))
	return aBool.value, aBool.isSome
}

// GetBytes is the same for a list<u8>.
func GetBytes(name string) ([]byte, bool) {
	getBytes(name, unsafe.Pointer(&aText))
	if !aText.isSome {
		return nil, false
	}
	return taken(aText.value), true
}

// DocumentID is empty where the document has none.
func DocumentID() string {
	documentID(unsafe.Pointer(&aList))
	return string(taken(aList))
}

// Score is the document's score.
func Score() float64 { return score() }

// FieldNames are the names of all its fields.
func FieldNames() []string {
	fieldNames(unsafe.Pointer(&aList))
	count := int(aList.size)
	entries := take(aList.data, aList.size*uint32(unsafe.Sizeof(list{})))
	names := make([]string, count)
	for i := range names {
		names[i] = string(taken(*(*list)(unsafe.Pointer(&entries[i*int(unsafe.Sizeof(list{}))]))))
	}
	return names
}

func taken(value list) []byte { return take(value.data, value.size) }

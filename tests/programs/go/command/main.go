// A Go program that uses what WASI offers as a Go program does.  What it does: ../../README.md.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// check ends the program on an error that is not part of what it shows.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func kind(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, syscall.ENOTEMPTY): // before ErrExist, which it counts as, too
		return "not empty"
	case errors.Is(err, fs.ErrNotExist):
		return "not found"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	case errors.Is(err, syscall.EISDIR):
		return "is a directory"
	case errors.Is(err, syscall.ENOTDIR):
		return "not a directory"
	}
	return err.Error()
}

// --- args, env, lines, cat ---------------------------------------------------------------------------

func args(program string, words []string) {
	fmt.Printf("program: %s\nwords: %d\n", strings.TrimSuffix(path.Base(program), ".wasm"), len(words))
	for i, word := range words {
		fmt.Printf("%d (%d bytes): %s\n", i+1, len(word), word)
	}
}

func env(names []string) {
	for _, name := range names {
		if value, found := os.LookupEnv(name); found {
			fmt.Printf("%s=%s\n", name, value)
		} else {
			fmt.Printf("%s is not set\n", name)
		}
	}
	if len(names) == 0 {
		all := os.Environ()
		sort.Strings(all)
		for _, line := range all {
			fmt.Println(line)
		}
	}
}

func lines() {
	number, count := 0, 0
	reader := bufio.NewReader(os.Stdin)
	for {
		line, err := reader.ReadString('\n')
		if line != "" {
			number++
			count += len(line)
			fmt.Printf("%d: %s", number, bytes.ToUpper([]byte(line)))
		}
		if err == io.EOF {
			break
		}
		check(err)
	}
	fmt.Fprintf(os.Stderr, "lines: %d, bytes: %d\n", number, count)
}

func cat(name string) {
	file, err := os.Open(name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cat: cannot read %s\n", name)
		os.Exit(1)
	}
	defer file.Close()
	_, err = io.Copy(os.Stdout, file)
	check(err)
}

// --- files -------------------------------------------------------------------------------------------

func sizeOf(name string) int64 {
	info, err := os.Stat(name)
	check(err)
	return info.Size()
}

func content(name string) string {
	text, err := os.ReadFile(name)
	check(err)
	return string(text)
}

func smallFile(folder string) {
	notes, journal := path.Join(folder, "notes.txt"), path.Join(folder, "journal.txt")
	check(os.WriteFile(notes, []byte("first, of two\nsecond line\n"), 0o644))
	appended, err := os.OpenFile(notes, os.O_APPEND|os.O_WRONLY, 0)
	check(err)
	_, err = appended.WriteString("appended\n")
	check(err)
	check(appended.Close())
	fmt.Printf("size: %d\n%s", sizeOf(notes), content(notes))

	file, err := os.OpenFile(notes, os.O_RDWR, 0)
	check(err)
	seek := func(offset int64, from int) int64 {
		position, err := file.Seek(offset, from)
		check(err)
		return position
	}
	fmt.Printf("seek: %d\n", seek(7, io.SeekStart))
	_, err = file.WriteString("OF TWO")
	check(err)
	fmt.Printf("at: %d\n", seek(0, io.SeekCurrent))
	fmt.Printf("end: %d\n", seek(-9, io.SeekEnd))
	tail := make([]byte, 8)
	_, err = io.ReadFull(file, tail)
	check(err)
	fmt.Printf("tail: %s\n", tail)
	check(file.Truncate(13))
	check(file.Close())
	fmt.Printf("truncated: %d\n%s\n", sizeOf(notes), content(notes))

	fmt.Printf("rename: %s\n", kind(os.Rename(notes, journal)))
	_, err = os.Stat(notes)
	fmt.Printf("old name: %s\n", kind(err))
	info, err := os.Stat(journal)
	fmt.Printf("new name: %s\n", kind(err))
	age := time.Since(info.ModTime())
	if age > -time.Minute && age < 24*time.Hour {
		fmt.Println("modified: lately")
	} else {
		fmt.Println("modified: long ago")
	}
}

// bigFile writes and reads in pieces of different lengths.
func bigFile(folder string) {
	name := path.Join(folder, "big.bin")
	data := make([]byte, 1<<20+17)
	for i := range data {
		data[i] = byte((uint32(i)*31 + 7) >> 3)
	}
	file, err := os.Create(name)
	check(err)
	for at := 0; at < len(data); at += 60001 {
		_, err = file.Write(data[at:min(at+60001, len(data))])
		check(err)
	}
	check(file.Close())

	file, err = os.Open(name)
	check(err)
	hash, total := fnv.New32a(), 0
	for piece := make([]byte, 4093); ; {
		n, err := file.Read(piece)
		if err == io.EOF {
			break
		}
		check(err)
		hash.Write(piece[:n])
		total += n
	}
	check(file.Close())
	fmt.Printf("big: %d bytes, %d read, hash %08x\n", sizeOf(name), total, hash.Sum32())
}

// manyFiles makes more entries than one answer of the host holds.
func manyFiles(folder string) {
	for i := range 300 {
		name := path.Join(folder, fmt.Sprintf("item-%03d", i))
		check(os.WriteFile(name, []byte("abcdef"[6-i%7:]), 0o644))
	}
	check(os.Mkdir(path.Join(folder, "inner"), 0o755))

	entries, err := os.ReadDir(folder) // sorted
	check(err)
	total := int64(0)
	fmt.Printf("entries: %d\n", len(entries))
	for i, entry := range entries {
		what := "folder"
		if !entry.IsDir() {
			info, err := entry.Info()
			check(err)
			total += info.Size()
			what = "file"
		}
		if i < 3 || i+5 > len(entries) {
			fmt.Printf("  %s %s\n", what, entry.Name())
		}
	}
	fmt.Printf("bytes in all: %d\n", total)
}

func wrongUses(folder string) {
	open := func(name string, flags int) string {
		_, err := os.OpenFile(path.Join(folder, name), flags, 0o644)
		return kind(err)
	}
	fmt.Printf("open missing: %s\n", open("missing", os.O_RDONLY))
	fmt.Printf("create what is there: %s\n", open("item-000", os.O_WRONLY|os.O_CREATE|os.O_EXCL))
	fmt.Printf("write to a folder: %s\n", open("inner", os.O_WRONLY))
	_, err := os.ReadDir(path.Join(folder, "item-000"))
	fmt.Printf("list a file: %s\n", kind(err))
	fmt.Printf("remove a full folder: %s\n", kind(syscall.Rmdir(folder)))
	fmt.Printf("unlink missing: %s\n", kind(os.Remove(path.Join(folder, "missing"))))
}

func removeAll(folder string) {
	entries, err := os.ReadDir(folder)
	check(err)
	for _, entry := range entries {
		check(os.Remove(path.Join(folder, entry.Name())))
	}
	entries, err = os.ReadDir(folder)
	check(err)
	fmt.Printf("left: %d\n", len(entries))
	fmt.Printf("remove the folder: %s\n", kind(os.Remove(folder)))
}

func files(top string) {
	folder := path.Join(top, "work")
	fmt.Printf("make a folder: %s\n", kind(os.Mkdir(folder, 0o755)))
	fmt.Printf("and again: %s\n", kind(os.Mkdir(folder, 0o755)))
	smallFile(folder)
	bigFile(folder)
	manyFiles(folder)
	wrongUses(folder)
	removeAll(folder)
	check(os.WriteFile(path.Join(top, "kept.txt"), []byte("kept by the guest\n"), 0o644))
}

// --- machine -----------------------------------------------------------------------------------------

func say(what string, right bool, yes, no string) {
	if right {
		no = yes
	}
	fmt.Printf("%s: %s\n", what, no)
}

func machine() {
	begin := time.Now()
	time.Sleep(20 * time.Millisecond)
	slept := time.Since(begin)
	say("slept", slept >= 20*time.Millisecond && slept < 5*time.Second, "20 ms", "wrong")
	say("year", time.Now().Unix() > 1_600_000_000, "after 2020", "wrong")
	var random [2][16]byte
	for i := range random {
		_, err := rand.Read(random[i][:])
		check(err)
	}
	say("random", random[0] != random[1], "differs", "the same")
}

func main() {
	command, words := "", []string{}
	if len(os.Args) > 1 {
		command, words = os.Args[1], os.Args[2:]
	}
	switch {
	case command == "args":
		args(os.Args[0], words)
	case command == "env":
		env(words)
	case command == "lines":
		lines()
	case command == "files" && len(words) == 1:
		files(words[0])
	case command == "cat" && len(words) == 1:
		cat(words[0])
	case command == "machine":
		machine()
	case command == "crash":
		panic("on purpose")
	case command == "fail" && len(words) > 0:
		fmt.Fprintln(os.Stderr, strings.Join(words[1:], " "))
		code, _ := strconv.Atoi(words[0])
		os.Exit(code)
	default:
		fmt.Fprintln(os.Stderr, "usage: args | env | lines | files FOLDER | cat PATH | machine | fail CODE WORDS | crash")
		os.Exit(2)
	}
}

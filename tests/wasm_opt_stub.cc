// What may be found in wasm-opt's place.  How it behaves is its file's name: it is run with an empty
// environment and arguments that are not the test's.

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kFailed = 1;

std::string outcome(const char* what, long result) {
  return std::string(what) + ": " + (result < 0 ? std::strerror(errno) : "works") + ", ";
}

// What a program that was taken over would try.
int spy() {
  std::string all;
  all += outcome("read", ::open("/etc/passwd", O_RDONLY));
  all += outcome("write", ::open("/tmp/spore_stub_was_here", O_WRONLY | O_CREAT, 0600));
  all += outcome("remove", ::unlink("/tmp/spore_stub_was_here"));
  all += outcome("list", ::open("/tmp", O_RDONLY | O_DIRECTORY));
  all += outcome("socket", ::socket(AF_INET, SOCK_STREAM, 0));
  all += outcome("fork", ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  all += outcome("signal", ::kill(::getppid(), 0));
  all += outcome("signal by the kernel", ::fcntl(STDERR_FILENO, F_SETOWN, ::getppid()));
  struct stat info{};
  all += outcome("descriptor 3", ::fstat(3, &info));
  const bool none = std::getenv("SECRET") == nullptr && std::getenv("PATH") == nullptr;
  all += none ? "environment: nothing of it" : "environment: all of it";
  std::fprintf(stderr, "%s\n", all.c_str());
  return kFailed;
}

int spawner() {
  char shell[] = "/bin/sh";
  char* words[] = {shell, nullptr};
  std::fprintf(stderr, "%s\n", outcome("run", ::execve(shell, words, nullptr)).c_str());
  return kFailed;
}

int copy_input() {
  std::vector<char> buffer(size_t{1} << 20);
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n <= 0 || ::write(STDOUT_FILENO, buffer.data(), static_cast<size_t>(n)) != n)
      return n == 0 ? 0 : kFailed;
  }
}

// A module with these sections, whatever was given.
int answer(std::string_view sections) {
  std::string module("\0asm\1\0\0\0", 8);
  module += sections;
  return ::write(STDOUT_FILENO, module.data(), module.size()) == static_cast<ssize_t>(module.size())
             ? 0
             : kFailed;
}

int run(std::string_view behaviour) {
  if (behaviour == "crash") {
    std::fputs("about to crash\n", stderr);
    ::raise(SIGSEGV);
  }
  if (behaviour == "endless") {
    for (;;) static_cast<void>(::getppid());
  }
  if (behaviour == "garbage") return std::puts("this is no module") < 0;
  if (behaviour == "silent") return 0;
  if (behaviour == "unchanged") return copy_input();
  if (behaviour == "other_exports") {  // (global (export "g") i32 (i32.const 0))
    return answer({"\6\6\1\x7f\0\x41\0\xb\7\5\1\1g\3\0", 15});
  }
  if (behaviour == "hidden_global") {  // (global (mut i32) (i32.const 0))
    return answer({"\6\6\1\x7f\1\x41\0\xb", 8});
  }
  if (behaviour == "too_much") {
    const std::vector<char> zeros(size_t{1} << 20);
    while (::write(STDOUT_FILENO, zeros.data(), zeros.size()) > 0) {
    }
  }
  if (behaviour == "fails") {
    std::fputs("reading\nFatal: \x1b[31mno idea\n\n", stderr);
    return kFailed;
  }
  if (behaviour == "loud") {
    for (int i = 0; i < 100'000; i++) std::fprintf(stderr, "line %d of many, none of which is the last\n", i);
    std::fputs("the last line", stderr);
    return kFailed;
  }
  if (behaviour == "hungry") {
    for (;;) std::memset(new char[size_t{1} << 24], 1, size_t{1} << 24);
  }
  if (behaviour == "spy") return spy();
  if (behaviour == "spawner") return spawner();
  return kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view path = argv[0];
  const std::string_view behaviour = path.substr(path.rfind('/') + 1);
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    if (behaviour == "odd_version") return std::puts("Binaryen, of some kind") < 0;
    return std::puts(behaviour == "old_version" ? "wasm-opt version 107 (version_107)"
                                                : "wasm-opt version 108 (version_108)") < 0;
  }
  return run(behaviour);
}

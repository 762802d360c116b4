#include "spore/base/process_fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/child.h"

namespace spore {
namespace {

std::atomic<int> opened = 0;
std::atomic<bool> refuses = false;

Result<int> open_null() {
  if (refuses) return Status::unavailable("refused");
  opened++;
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(ProcessFdTest, ItIsOpenedOnceWhenItIsFirstNeeded) {
  opened = 0;
  int fd = -1;
  {
    const ProcessFd process_fd(&open_null);
    EXPECT_EQ(opened, 0);
    fd = process_fd.get().value();
    EXPECT_TRUE(is_open(fd));
    EXPECT_EQ(process_fd.get().value(), fd);
    EXPECT_EQ(opened, 1);
  }
  EXPECT_FALSE(is_open(fd));
  {
    const ProcessFd unused(&open_null);
  }
  EXPECT_EQ(opened, 1);
}

// A failure is told, and not remembered.
TEST(ProcessFdTest, WhatCannotBeOpenedIsTriedAgain) {
  const ProcessFd process_fd(&open_null);
  refuses = true;
  EXPECT_EQ(process_fd.get().status().code(), Code::kUnavailable);
  refuses = false;
  EXPECT_TRUE(process_fd.get().ok());
}

// A child opens its own and closes its parent's, which goes on with its own.
TEST(ProcessFdTest, AChildOpensItsOwn) {
  opened = 0;
  const ProcessFd process_fd(&open_null);
  const int fd = process_fd.get().value();
  EXPECT_EQ(test::in_child([&] {
              refuses = true;
              if (process_fd.get().ok()) return std::string("the parent's");
              refuses = false;
              const int own = process_fd.get().value();
              if (opened != 2 || process_fd.get().value() != own) return std::string("not one of its own");
              return std::string(is_open(own) && (own == fd || !is_open(fd)) ? "" : "the parent's is open");
            }),
            "");
  EXPECT_EQ(process_fd.get().value(), fd);
  EXPECT_TRUE(is_open(fd));
  EXPECT_EQ(opened, 1);
}

// Of threads that need it at once all get the same.
TEST(ProcessFdTest, ThreadsShareOne) {
  for (int round = 0; round < 50; round++) {
    const ProcessFd process_fd(&open_null);
    std::atomic<int> ready = 0;
    std::vector<int> fds(4);
    {
      std::vector<std::jthread> threads;
      for (int& fd : fds) {
        threads.emplace_back([&] {
          ready++;
          while (ready < 4) {
          }
          fd = process_fd.get().value();
        });
      }
    }
    EXPECT_EQ(std::set<int>(fds.begin(), fds.end()).size(), 1u);
    EXPECT_TRUE(is_open(fds[0]));
  }
}

}  // namespace
}  // namespace spore

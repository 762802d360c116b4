#pragma once

#include <mutex>

#include "spore/base/thread_annotations.h"

namespace spore {

// std::mutex with the annotations that libstdc++'s lacks.
class SPORE_CAPABILITY("mutex") Mutex {
 public:
  void lock() SPORE_ACQUIRE() { mutex_.lock(); }
  void unlock() SPORE_RELEASE() { mutex_.unlock(); }
  // For std::condition_variable, which knows std::mutex only; it is held before the wait and after it.
  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

// Holds a Mutex for a scope.
class SPORE_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) SPORE_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() SPORE_RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace spore

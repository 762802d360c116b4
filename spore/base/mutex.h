#pragma once

#include <condition_variable>
#include <mutex>

#include "spore/base/thread_annotations.h"

namespace spore {

// std::mutex with the annotations that libstdc++'s lacks.
class SPORE_CAPABILITY("mutex") Mutex {
 public:
  void lock() SPORE_ACQUIRE() { mutex_.lock(); }
  void unlock() SPORE_RELEASE() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds a Mutex for a scope.  A std::condition_variable_any waits on the Mutex itself.
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

#include "spore/base/fork.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "spore/base/assert.h"
#include "spore/base/mutex.h"

namespace spore {
namespace {

constinit std::atomic<uint64_t> ordinary_number{0};  // where the number stands if no page can be wiped
constinit std::atomic<uint64_t> last_number{0};      // the counter that is copied

// A page that is zeros in every child; null if the kernel cannot do that.
std::atomic<uint64_t>* map_wiped_page() {
  const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* const page = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;
  // Old versions of qemu-user take any advice and follow none: whoever takes nonsense is not believed.
  constexpr int kNonsense = -1;
  if (madvise(page, bytes, kNonsense) == 0 || madvise(page, bytes, MADV_WIPEONFORK) != 0) {
    munmap(page, bytes);
    return nullptr;
  }
  return new (page) std::atomic<uint64_t>(0);
}

// The number that stands there, a new one if it is 0.
uint64_t set_if_zero(std::atomic<uint64_t>& number) {
  const uint64_t next = last_number.fetch_add(1) + 1;
  uint64_t standing = 0;
  return number.compare_exchange_strong(standing, next) ? next : standing;
}

// Constant-initialized and never destroyed: objects may come before main() and a fork at exit.
constinit Mutex registry_mutex;
constinit ForkRegistration* registry_first SPORE_GUARDED_BY(registry_mutex) = nullptr;
constinit ForkRegistration* registry_last SPORE_GUARDED_BY(registry_mutex) = nullptr;

}  // namespace

constinit std::atomic<std::atomic<uint64_t>*> internal::generation{&ordinary_number};

struct ForkHandlers {
  static void enter(ForkRegistration* object) {
    const MutexLock lock(registry_mutex);
    object->previous_ = registry_last;
    (registry_last == nullptr ? registry_first : registry_last->next_) = object;
    registry_last = object;
  }

  static void leave(ForkRegistration* object) {
    const MutexLock lock(registry_mutex);
    (object->previous_ == nullptr ? registry_first : object->previous_->next_) = object->next_;
    (object->next_ == nullptr ? registry_last : object->next_->previous_) = object->previous_;
  }

  // Once, and before the first number and the first object.
  static void install() {
    static const int error = pthread_atfork(&before, &in_parent, &in_child);
    SPORE_ASSERT(error == 0, "no memory for fork handlers");
  }

  static void before() SPORE_NO_THREAD_SAFETY_ANALYSIS {
    registry_mutex.lock();
    for (ForkRegistration* at = registry_first; at != nullptr; at = at->next_) at->object_.lock_for_fork();
  }

  static void in_parent() SPORE_NO_THREAD_SAFETY_ANALYSIS {
    for (ForkRegistration* at = registry_first; at != nullptr; at = at->next_) {
      at->object_.unlock_after_fork();
    }
    registry_mutex.unlock();
  }

  static void in_child() SPORE_NO_THREAD_SAFETY_ANALYSIS {
    std::atomic<uint64_t>& number = *internal::generation.load();
    number.store(0);  // as the kernel has done already if it can
    set_if_zero(number);
    for (ForkRegistration* at = registry_first; at != nullptr; at = at->next_) at->object_.repair_in_child();
    in_parent();
  }
};

namespace internal {

uint64_t renew_generation() {
  static std::atomic<uint64_t>& number = []() -> std::atomic<uint64_t>& {
    ForkHandlers::install();
    if (std::atomic<uint64_t>* const page = map_wiped_page(); page != nullptr) generation.store(page);
    return *generation.load();
  }();
  return set_if_zero(number);
}

}  // namespace internal

namespace {

// The first number is taken at load, as a rule before there is a second thread: a child that inherited the
// page half made could not ask.
[[maybe_unused]] const uint64_t first_number = process_generation();

}  // namespace

bool process_generation_sees_bare_clones() { return internal::generation.load() != &ordinary_number; }

ForkRegistration::ForkRegistration(ForkAware& object) : object_(object) {
  ForkHandlers::install();
  ForkHandlers::enter(this);
}

ForkRegistration::~ForkRegistration() { ForkHandlers::leave(this); }

}  // namespace spore

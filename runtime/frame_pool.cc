#include "runtime/frame_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "runtime/mutex.h"
#include "runtime/sanitizers.h"
#ifdef ACRE_SIM
#include "runtime/simulated_memory.h"
#endif

namespace acre {
namespace {

constexpr bool kPooled = !kUnderAsan && !kUnderTsan;

// Locks the registry, which is the whole program's. A simulated process must not wait there for
// another, nor die with the lock: to simulated threads all of this is one step.
#ifdef ACRE_SIM
using RegistryStep = OutsideOfSimulatedThread;
#else
struct RegistryStep {};
#endif

constexpr size_t kClassesCount = FramePool::kPooledBytesMax / FramePool::kClassBytes;
// At most this many free blocks a class: 64 KiB of the smallest class, 4 MiB of the largest.
constexpr uint32_t kFreeBlocksMax = 1024;

struct FreeBlock {
  FreeBlock* next;
};

// One thread's lists. Trivial to construct and destroy, so that reaching it costs no guard, and so
// that frames which static or thread-local destructors free late still find it.
struct ThreadPool {
  FreeBlock* free[kClassesCount];
  uint32_t free_count[kClassesCount];
  bool registered;  // Its reaper exists: the thread's end will free the lists.
  bool dead;        // The reaper ran: everything goes to malloc from now on.
  // Allocated less freed, by this thread; negative where others' blocks are freed. Written by this
  // thread only (so a plain add), read by LiveBlocks on any thread, which may see any past value.
  std::atomic<int64_t> live;
};
constinit thread_local ThreadPool this_thread_pool{};

// All threads' pools, and the sum of those that ended.
struct Registry {
  Mutex mutex;
  std::vector<ThreadPool*> pools ABSL_GUARDED_BY(mutex);
  int64_t live_of_ended ABSL_GUARDED_BY(mutex) = 0;
};

// Leaked on purpose: threads may end after static destructors ran.
Registry& GetRegistry() {
  static Registry* const registry = new Registry;
  return *registry;
}

class Reaper {
 public:
  Reaper() {
    Registry& registry = GetRegistry();
    [[maybe_unused]] const RegistryStep step;
    const MutexLock lock(&registry.mutex);
    registry.pools.push_back(&this_thread_pool);
  }
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;
  ~Reaper() {
    ThreadPool& pool = this_thread_pool;
    for (FreeBlock*& list : pool.free) {
      while (list != nullptr) std::free(std::exchange(list, list->next));
    }
    pool.dead = true;
    Registry& registry = GetRegistry();
    [[maybe_unused]] const RegistryStep step;
    const MutexLock lock(&registry.mutex);
    std::erase(registry.pools, &pool);
    registry.live_of_ended += pool.live.load(std::memory_order_relaxed);
    pool.live.store(0, std::memory_order_relaxed);
  }
};

void Register(ThreadPool& pool) {
  pool.registered = true;
  static thread_local const Reaper reaper;
  (void)reaper;
}

void AddLive(ThreadPool& pool, int64_t count) {
  if (pool.dead) {  // Once in a while, at a thread's very end.
    Registry& registry = GetRegistry();
    [[maybe_unused]] const RegistryStep step;
    const MutexLock lock(&registry.mutex);
    registry.live_of_ended += count;
    return;
  }
  if (!pool.registered) Register(pool);
  pool.live.store(pool.live.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
}

void* AllocateFromSystem(size_t bytes) {
  void* const block = std::malloc(bytes);
  CHECK(block != nullptr) << "out of memory: no " << bytes << " bytes for a coroutine frame";
  return block;
}

size_t ClassOf(size_t bytes) { return (bytes - 1) / FramePool::kClassBytes; }

}  // namespace

void* FramePool::Allocate(size_t bytes) {
  ThreadPool& pool = this_thread_pool;
  AddLive(pool, 1);
  if (!kPooled || bytes > kPooledBytesMax) return AllocateFromSystem(bytes);
  DCHECK_GT(bytes, 0u);
  const size_t size_class = ClassOf(bytes);
  if (FreeBlock* const block = pool.free[size_class]) {
    pool.free[size_class] = block->next;
    --pool.free_count[size_class];
    return block;
  }
  return AllocateFromSystem((size_class + 1) * kClassBytes);
}

void FramePool::Free(void* block, size_t bytes) {
  ThreadPool& pool = this_thread_pool;
  AddLive(pool, -1);
  if (!kPooled || bytes > kPooledBytesMax || pool.dead) return std::free(block);
  const size_t size_class = ClassOf(bytes);
  if (pool.free_count[size_class] >= kFreeBlocksMax) return std::free(block);
  auto* const free_block = static_cast<FreeBlock*>(block);
  free_block->next = pool.free[size_class];
  pool.free[size_class] = free_block;
  ++pool.free_count[size_class];
}

int64_t FramePool::LiveBlocks() {
  Registry& registry = GetRegistry();
  [[maybe_unused]] const RegistryStep step;
  const MutexLock lock(&registry.mutex);
  int64_t live = registry.live_of_ended;
  for (const ThreadPool* pool : registry.pools) live += pool->live.load(std::memory_order_relaxed);
  return live;
}

}  // namespace acre

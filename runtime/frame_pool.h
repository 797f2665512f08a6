// FramePool: memory for coroutine frames, and for other small objects that come and go with them.
//
// A frame lives about as long as one request, so its memory is taken from a free list of the
// calling thread (one list for each size class of 64 bytes, up to 4 KiB) and goes back to the list
// of the thread that frees it. A list that has grown long (frames made on one thread and freed on
// another) gives the surplus back to malloc, so no thread hoards. Larger blocks go to malloc
// straight.
//
// Under asan and tsan every block is malloc's own, so that a use after free, or a race on it, is
// found.
//
// Ownership:  blocks belong to the caller between Allocate and Free; the lists to their thread,
//             freed when it ends.
// Threads:    all functions may be called from any thread, and never take a lock except on a
//             thread's first call and in LiveBlocks. A block may be freed on another thread than it
//             came from.
// Invariants: LiveBlocks() is the number of blocks that were allocated and not freed.
// Limits:     blocks are 16-byte aligned. g++ 12 ignores a stricter alignment of a coroutine's
//             locals, so there is no use in supporting one.

#ifndef ACRE_RUNTIME_FRAME_POOL_H_
#define ACRE_RUNTIME_FRAME_POOL_H_

#include <cstddef>
#include <cstdint>

namespace acre {

class FramePool {
 public:
  static constexpr size_t kClassBytes = 64;
  static constexpr size_t kPooledBytesMax = 4096;

  FramePool() = delete;

  // Never null: out of memory ends the process, as everywhere in C++ without exceptions.
  [[nodiscard]] static void* Allocate(size_t bytes);

  // Requires: `bytes` is what Allocate was called with.
  static void Free(void* block, size_t bytes);

  // Blocks that are allocated now, over all threads. Exact when no other thread is inside Allocate
  // or Free. For tests: "nothing leaked" is LiveBlocks() being what it was before.
  static int64_t LiveBlocks();
};

}  // namespace acre

#endif  // ACRE_RUNTIME_FRAME_POOL_H_

// OwnerThread: has the kernel tell every process that maps our regions that we died.
//
// The `owner` word of a region's header is a robust futex of this thread (set_robust_list(2)): it holds
// the thread's id, and when the thread ends, however its process dies, the kernel sets kOwnerDied in it.
// It does so before it closes the process's descriptors. So whoever loads an unmarked word after the
// data knows that the owner had not died yet, and so that no other server had its port: what it read was
// not out of date (docs/leases.md, "Marked by the kernel").
//
// The thread does nothing but exist. Its list begins in a shared mapping and runs through the headers,
// which are shared mappings too: the kernel's out-of-memory killer takes a dying process's private pages
// away early, but not these. All of them are locked in memory: the walk meets no page fault that could
// fail.
//
// Ownership:  owns its thread. The headers are borrowed between Add() and Remove().
// Threads:    any.
// Invariants: at every moment the list is well formed, as the kernel may walk it at any: Add() and
//             Remove() change it by one store each.
// Limits:     the kernel walks 2048 entries at most: Add() takes no more.

#ifndef ACRE_TRANSPORT_SHM_OWNER_THREAD_H_
#define ACRE_TRANSPORT_SHM_OWNER_THREAD_H_

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <semaphore>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/types/optional.h"
#include "runtime/mutex.h"
#include "transport/region_header.h"

namespace acre::transport {

class OwnerThread {
 public:
  // Null where the kernel does not do this (tried out with a thread that ends at once), or where a page
  // or a thread is not to be had; why is logged.
  static std::unique_ptr<OwnerThread> Create();
  // Requires: every header was removed.
  ~OwnerThread();
  OwnerThread(const OwnerThread&) = delete;
  OwnerThread& operator=(const OwnerThread&) = delete;

  // From now on the header is marked when the process dies. It is writable for us and for no peer, and
  // stays mapped. False: it cannot be marked (too many are, or its page cannot be locked).
  [[nodiscard]] bool Add(RegionHeader* header);
  void Remove(RegionHeader* header);

 private:
  struct ListHead;

  explicit OwnerThread(ListHead* head);
  // Null: as Create(). The kernel may still ignore the list.
  static std::unique_ptr<OwnerThread> Start();
  void Run();
  // Ends the thread, if it runs.
  void End();
  // What points at the entry `index`, or behind the last one at the head.
  uint64_t LinkAt(size_t index) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ListHead* const head_;  // A shared page.
  uint32_t thread_id_ = 0;
  bool registered_ = false;
  std::binary_semaphore started_{0};
  std::binary_semaphore stop_{0};
  Mutex mutex_;
  std::vector<RegionHeader*> headers_ ABSL_GUARDED_BY(mutex_);  // In the order of the list.
  absl::optional<pthread_t> thread_;                            // While it runs.
};

// The OwnerThread of a Fabric, made when the first region asks for it.
//
// Threads: any.
class LazyOwnerThread {
 public:
  // Null where there cannot be one.
  OwnerThread* Get();

 private:
  Mutex mutex_;
  bool tried_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<OwnerThread> thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_OWNER_THREAD_H_

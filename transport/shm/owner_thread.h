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
// away early, but not these.
//
// Ownership:  owns its thread. The headers are borrowed between Add() and Remove().
// Threads:    any.
// Invariants: at every moment the list is well formed, as the kernel may walk it at any: Add() and
//             Remove() change it by one store each.
// Limits:     the kernel walks 2048 entries at most; Add() CHECKs that there are fewer.

#ifndef ACRE_TRANSPORT_SHM_OWNER_THREAD_H_
#define ACRE_TRANSPORT_SHM_OWNER_THREAD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "runtime/mutex.h"
#include "transport/region_header.h"

namespace acre::transport {

class OwnerThread {
 public:
  // Null where the kernel does not do this (tried out with a thread that ends at once).
  static std::unique_ptr<OwnerThread> Create();
  // Requires: every header was removed.
  ~OwnerThread();
  OwnerThread(const OwnerThread&) = delete;
  OwnerThread& operator=(const OwnerThread&) = delete;

  // From now on the header is marked when the process dies. It is writable, and stays mapped.
  void Add(RegionHeader* header);
  void Remove(RegionHeader* header);

 private:
  struct ListHead;

  explicit OwnerThread(ListHead* head);
  void Run();
  // The link of the entry before `index`.
  SharedWord* LinkBefore(size_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ListHead* const head_;  // A shared page.
  uint32_t thread_id_ = 0;
  bool registered_ = false;
  std::binary_semaphore started_{0};
  std::binary_semaphore stop_{0};
  Mutex mutex_;
  std::vector<RegionHeader*> headers_ ABSL_GUARDED_BY(mutex_);  // In the order of the list.
  std::thread thread_;
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

#include "transport/shm/owner_thread.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <type_traits>

#include "absl/memory/memory.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

static_assert(kOwnerDied == FUTEX_OWNER_DIED);
constexpr size_t kHeadersMax = ROBUST_LIST_LIMIT;

uint64_t AddressOf(const SharedWord* word) { return reinterpret_cast<uint64_t>(word); }

}  // namespace

// As the kernel reads it: struct robust_list_head, its words shared with the kernel.
struct OwnerThread::ListHead {
  SharedWord first;  // Address of the first entry's link, or of this word: the list is a circle.
  int64_t futex_offset;     // From a link to its futex.
  SharedWord link_pending;  // 0: Add() and Remove() leave no entry half in the list.
};
static_assert(offsetof(robust_list_head, futex_offset) == 8 && sizeof(robust_list_head) == 24);

std::unique_ptr<OwnerThread> OwnerThread::Create() {
  const auto make = [] {
    void* const page =
        mmap(nullptr, sizeof(ListHead), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    PCHECK(page != MAP_FAILED) << "mmap of one page";
    auto made = absl::WrapUnique(new OwnerThread(static_cast<ListHead*>(page)));
    made->thread_ = std::thread([thread = made.get()] { thread->Run(); });
    made->started_.acquire();
    return made;
  };
  static_assert(std::is_trivially_destructible_v<RegionHeader>);
  RegionHeader tried = {};
  {
    const std::unique_ptr<OwnerThread> ends_at_once = make();
    if (!ends_at_once->registered_) return nullptr;
    ends_at_once->Add(&tried);
    ends_at_once->stop_.release();
    ends_at_once->thread_.join();  // The kernel lets it be joined after it has walked the list.
    ends_at_once->Remove(&tried);
  }
  if ((tried.owner.Load(std::memory_order_acquire) & kOwnerDied) == 0) return nullptr;
  return make();
}

OwnerThread::OwnerThread(ListHead* head) : head_(head) {
  head_->first.Store(AddressOf(&head_->first), std::memory_order_relaxed);
  head_->futex_offset = static_cast<int64_t>(offsetof(RegionHeader, owner)) -
                        static_cast<int64_t>(offsetof(RegionHeader, owner_link));
}

OwnerThread::~OwnerThread() {
  {
    const MutexLock lock(&mutex_);
    CHECK(headers_.empty()) << "regions go before their fabric";
  }
  if (thread_.joinable()) {
    stop_.release();
    thread_.join();
  }
  PCHECK(munmap(head_, sizeof(ListHead)) == 0);
}

void OwnerThread::Run() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all,
                  nullptr);  // Signals are for the threads that the program knows of.
  thread_id_ = static_cast<uint32_t>(syscall(SYS_gettid));
  // Replaces the C library's list of this thread, which takes no robust mutex.
  registered_ = syscall(SYS_set_robust_list, head_, sizeof(robust_list_head)) == 0;
  started_.release();
  stop_.acquire();
}

void OwnerThread::Add(RegionHeader* header) {
  const MutexLock lock(&mutex_);
  CHECK_LT(headers_.size(), kHeadersMax);
  header->owner.Store(thread_id_, std::memory_order_relaxed);
  header->owner_link.Store(head_->first.Load(std::memory_order_relaxed), std::memory_order_relaxed);
  // Release: the kernel, which may walk the list on another CPU from here on, finds the entry whole.
  head_->first.Store(AddressOf(&header->owner_link), std::memory_order_release);
  headers_.insert(headers_.begin(), header);
}

void OwnerThread::Remove(RegionHeader* header) {
  const MutexLock lock(&mutex_);
  const auto at = std::find(headers_.begin(), headers_.end(), header);
  CHECK(at != headers_.end()) << "the header was not added";
  const auto index = static_cast<size_t>(at - headers_.begin());
  LinkBefore(index)->Store(header->owner_link.Load(std::memory_order_relaxed),
                           std::memory_order_release);
  headers_.erase(at);
}

SharedWord* OwnerThread::LinkBefore(size_t index) {
  return index == 0 ? &head_->first : &headers_[index - 1]->owner_link;
}

OwnerThread* LazyOwnerThread::Get() {
  const MutexLock lock(&mutex_);
  if (!tried_) {
    tried_ = true;
    thread_ = OwnerThread::Create();
    if (thread_ == nullptr) {
      LOG(WARNING) << "this kernel has no robust futexes: readers of a server that died notice it "
                      "when its lease is over, not at once";
    }
  }
  return thread_.get();
}

}  // namespace acre::transport

#include "transport/shm/owner_thread.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/memory/memory.h"
#include "glog/logging.h"
#include "runtime/quiet_thread.h"

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
  // Ours, behind it: whether the kernel marks is tried out with this one.
  RegionHeader tried;
};
static_assert(offsetof(robust_list_head, futex_offset) == 8 && sizeof(robust_list_head) == 24);

std::unique_ptr<OwnerThread> OwnerThread::Start() {
  void* const page =
      mmap(nullptr, sizeof(ListHead), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    PLOG(WARNING) << "mmap of one page";
    return nullptr;
  }
  auto made = absl::WrapUnique(new OwnerThread(static_cast<ListHead*>(page)));
  if (mlock(page, sizeof(ListHead)) != 0) {
    PLOG(WARNING) << "mlock of one page";
    return nullptr;
  }
  const auto thread = StartQuietThread([started = made.get()] { started->Run(); });
  if (!thread.ok()) {
    LOG(WARNING) << thread.status();
    return nullptr;
  }
  made->thread_ = *thread;
  made->started_.acquire();
  return made;
}

std::unique_ptr<OwnerThread> OwnerThread::Create() {
  const std::unique_ptr<OwnerThread> ends_at_once = Start();
  if (ends_at_once == nullptr || !ends_at_once->registered_) return nullptr;
  RegionHeader* const tried = &ends_at_once->head_->tried;
  if (!ends_at_once->Add(tried)) return nullptr;
  ends_at_once->End();  // The kernel lets it be joined after it has walked the list.
  ends_at_once->Remove(tried);
  const bool is_marked = (tried->owner.Load(std::memory_order_acquire) & kOwnerDied) != 0;
  return is_marked ? Start() : nullptr;
}

OwnerThread::OwnerThread(ListHead* head) : head_(head) {
  // The thread hands it to the kernel later, and reads it as the one who stored it did.
  head_->first.Store(AddressOf(&head_->first), std::memory_order_relaxed);
  head_->futex_offset = static_cast<int64_t>(offsetof(RegionHeader, owner)) -
                        static_cast<int64_t>(offsetof(RegionHeader, owner_link));
}

OwnerThread::~OwnerThread() {
  {
    const MutexLock lock(&mutex_);
    CHECK(headers_.empty()) << "regions go before their fabric";
  }
  End();
  PCHECK(munmap(head_, sizeof(ListHead)) == 0);
}

void OwnerThread::Run() {
  thread_id_ = static_cast<uint32_t>(syscall(SYS_gettid));
  // Replaces the C library's list of this thread, which takes no robust mutex.
  registered_ = syscall(SYS_set_robust_list, head_, sizeof(robust_list_head)) == 0;
  started_.release();
  stop_.acquire();
}

void OwnerThread::End() {
  if (!thread_.has_value()) return;
  stop_.release();
  CHECK_EQ(pthread_join(*thread_, nullptr), 0);
  thread_.reset();
}

bool OwnerThread::Add(RegionHeader* header) {
  const MutexLock lock(&mutex_);
  if (headers_.size() == kHeadersMax) return false;
  // The kernel must not have to bring the page back while we die: for that it may lack the memory.
  // It stays locked till it is unmapped. Pages of the head and of the headers, one each: normal limits
  // allow that to everybody.
  if (mlock(header, sizeof(*header)) != 0) {
    PLOG(WARNING) << "mlock of a region's first page";
    return false;
  }
  // Readers may look already, and see 0: nobody marks this one. Either value says that we live.
  header->owner.Store(thread_id_, std::memory_order_relaxed);
  // Only the kernel reads the links, when our thread ends.
  header->owner_link.Store(LinkAt(0), std::memory_order_relaxed);
  // Release: the kernel, which may walk the list on another CPU from here on, finds the entry whole.
  head_->first.Store(AddressOf(&header->owner_link), std::memory_order_release);
  headers_.insert(headers_.begin(), header);
  return true;
}

void OwnerThread::Remove(RegionHeader* header) {
  const MutexLock lock(&mutex_);
  const auto at = std::find(headers_.begin(), headers_.end(), header);
  CHECK(at != headers_.end()) << "the header was not added";
  const auto index = static_cast<size_t>(at - headers_.begin());
  SharedWord* const before = index == 0 ? &head_->first : &headers_[index - 1]->owner_link;
  // The kernel, at any moment: it finds the list with the entry, or the list without. The successor is
  // what we remember, whatever the shared words say.
  before->Store(LinkAt(index + 1), std::memory_order_release);
  headers_.erase(at);
}

uint64_t OwnerThread::LinkAt(size_t index) const {
  return AddressOf(index < headers_.size() ? &headers_[index]->owner_link : &head_->first);
}

OwnerThread* LazyOwnerThread::Get() {
  const MutexLock lock(&mutex_);
  if (!tried_) {
    tried_ = true;
    thread_ = OwnerThread::Create();
    if (thread_ == nullptr) {
      LOG(WARNING)
          << "no death marks (no robust futexes in this kernel, or see above): readers of a "
             "server that died notice it when its lease is over, not at once";
    }
  }
  return thread_.get();
}

}  // namespace acre::transport

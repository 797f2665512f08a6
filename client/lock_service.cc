#include "client/lock_service.h"

#include <future>

#include "absl/base/thread_annotations.h"
#include "glog/logging.h"
#include "runtime/mutex.h"
#include "runtime/quiet_thread.h"

namespace acre {
namespace {

struct Holder {
  Mutex mutex;
  std::weak_ptr<LockService> service ABSL_GUARDED_BY(mutex);
};

Holder* TheHolder() {
  static Holder* const holder = new Holder;  // Never destroyed: clients may outlive main().
  return holder;
}

}  // namespace

LockService::LockService() : scheduler_({.clock = &clock_, .name = "lock service"}) {}

absl::StatusOr<std::shared_ptr<LockService>> LockService::Shared() {
  Holder* const holder = TheHolder();
  MutexLock lock(&holder->mutex);
  std::shared_ptr<LockService> service = holder->service.lock();
  if (service != nullptr) return service;
  service.reset(new LockService);
  service->scheduler_.DetachFromThread();
  auto thread = StartQuietThread([raw = service.get()] { raw->scheduler_.Run(); });
  if (!thread.ok()) return thread.status();
  service->thread_ = *thread;
  service->is_started_ = true;
  holder->service = service;
  return service;
}

LockService::~LockService() {
  if (!is_started_) return;
  scheduler_.Stop();
  CHECK_EQ(pthread_join(thread_, nullptr), 0);
  scheduler_.DetachFromThread();
}

void LockService::RunThere(const std::function<void()>& function) {
  std::promise<void> done;
  scheduler_.Post([&] {
    function();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace acre

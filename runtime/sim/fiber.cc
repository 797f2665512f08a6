#include "runtime/sim/fiber.h"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <utility>

#include "glog/logging.h"

namespace acre::sim {

namespace context = boost::context::detail;

namespace {

constexpr size_t kGuardBytes = 4096;

}  // namespace

StackPool::~StackPool() {
  for (void* const mapping : all_) munmap(mapping, kGuardBytes + kStackBytes);
}

void* StackPool::Take() {
  if (!free_.empty()) {
    void* const stack_top = free_.back();
    free_.pop_back();
    return stack_top;
  }
  void* const mapping = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  PCHECK(mapping != MAP_FAILED) << "no memory for a simulated thread's stack";
  PCHECK(mprotect(mapping, kGuardBytes, PROT_NONE) == 0);
  all_.push_back(mapping);
  return static_cast<char*>(mapping) + kGuardBytes + kStackBytes;
}

void StackPool::Give(void* stack_top) { free_.push_back(stack_top); }

struct Fiber::Entry {
  static void Call(context::transfer_t transfer) {
    Main(transfer.fctx, static_cast<Fiber*>(transfer.data));
  }
};

Fiber::Fiber(StackPool* pool, std::function<void()> body)
    : pool_(pool),
      body_(std::move(body)),
      stack_top_(pool->Take()),
      context_(context::make_fcontext(stack_top_, StackPool::kStackBytes, &Entry::Call)) {}

Fiber::~Fiber() {
  if (has_ended_) pool_->Give(stack_top_);
}

void Fiber::Main(void* from, Fiber* fiber) {
  fiber->caller_ = from;
  fiber->body_();
  fiber->has_ended_ = true;
  fiber->Suspend();
  LOG(FATAL) << "a fiber went on after its end";
}

void Fiber::Resume() {
  CHECK(!has_ended_);
  context_ = context::jump_fcontext(context_, this).fctx;
}

void Fiber::Suspend() { caller_ = context::jump_fcontext(caller_, nullptr).fctx; }

}  // namespace acre::sim

#include "runtime/sim/thread.h"

#include <utility>

#include "runtime/sim/machine.h"
#include "runtime/sim/process.h"
#include "runtime/sim/world.h"

namespace acre::sim {

// All words are touched by this one OS thread: the orders that stand here are of no account. What
// the orders of the simulated program promise is what the store buffer keeps.

Thread::Thread(World* world, Process* process, std::string name, uint32_t id,
               StoreStyle store_style, std::unique_ptr<Fiber> fiber)
    : world_(world),
      process_(process),
      name_(std::move(name)),
      id_(id),
      store_style_(store_style),
      fiber_(std::move(fiber)) {}

void Thread::Spend(uint64_t ns) {
  now_ns_ += ns * process_->machine()->slowness_of_256_ / 256;
  if (now_ns_ >= world_->horizon_ns_) world_->OnHorizon(this);
}

void Thread::Access() { Spend(world_->caches_.has_value() ? kLockedNs : world_->costs_.Access()); }

void Thread::AccessToLoad(const void* word) {
  Spend(world_->caches_.has_value() ? world_->caches_->Load(word, id_, now_ns_)
                                    : world_->costs_.Access());
}

void Thread::AccessToStore(const void* word) {
  process_->Step();
  Spend(world_->caches_.has_value() ? world_->caches_->Store(word, id_, now_ns_)
                                    : world_->costs_.Access());
}

void Thread::AccessToModify(const void* word) {
  process_->Step();
  Spend(world_->caches_.has_value() ? kLockedNs + world_->caches_->Store(word, id_, now_ns_)
                                    : world_->costs_.Access());
}

void Thread::Run() { world_->RunThread(this); }

void Thread::Trace(absl::string_view what, const void* word, uint64_t value) {
  if (world_->traces_accesses_) world_->TraceAccess(what, word, value);
}

uint64_t Thread::Load(const std::atomic<uint64_t>* word, std::memory_order /*order*/) {
  AccessToLoad(word);
  uint64_t value;
  if (stores_.empty() || !stores_.Find(word, &value)) value = word->load(std::memory_order_relaxed);
  Trace("load", word, value);
  return value;
}

void Thread::Store(std::atomic<uint64_t>* word, uint64_t value, std::memory_order order) {
  AccessToStore(word);
  Trace("store", word, value);
  if (order == std::memory_order_seq_cst) {
    stores_.DrainAll();
  } else if (store_style_ != StoreStyle::kAtOnce) {
    stores_.DrainDue(now_ns_);
    stores_.Push(word, value, now_ns_ + 1 + world_->costs_.StoreDelay(store_style_));
    world_->OnStore(this);
    return;
  }
  word->store(value, std::memory_order_relaxed);
}

uint64_t Thread::Exchange(std::atomic<uint64_t>* word, uint64_t value) {
  AccessToModify(word);
  Trace("exchange", word, value);
  stores_.DrainAll();
  return word->exchange(value, std::memory_order_relaxed);
}

uint64_t Thread::FetchAdd(std::atomic<uint64_t>* word, uint64_t value) {
  AccessToModify(word);
  Trace("add", word, value);
  stores_.DrainAll();
  return word->fetch_add(value, std::memory_order_relaxed);
}

bool Thread::CompareExchange(std::atomic<uint64_t>* word, uint64_t* expected, uint64_t desired) {
  AccessToModify(word);
  stores_.DrainAll();
  const bool swapped = word->compare_exchange_strong(*expected, desired, std::memory_order_relaxed);
  Trace(swapped ? "swapped in" : "not swapped: was", word, swapped ? desired : *expected);
  return swapped;
}

void Thread::StoreLoadBarrier() {
  Access();
  stores_.DrainAll();
}

void Thread::Yield() {
  stores_.DrainAll();
  Spend(world_->YieldNs());
}

void Thread::Pause() { Spend(world_->caches_.has_value() ? kPauseNs : world_->costs_.Pause()); }

bool Thread::RandomBit() { return world_->costs_.Bits(1) != 0; }

}  // namespace acre::sim

// A word of shared memory on relacy's model of memory, for templates over the word type. It can be
// told to do one of their operations in a weaker order than they ask for: a test that must then
// fail shows that the order is needed, and that the test would see it missing. And a thread can be
// told to die between two operations, wherever the template stands then.
//
// relacy (Dmitry Vyukov) runs each thread of a test as a fiber, switches between them before each
// operation, lets a load return older values where the C++ memory model allows it, and reports
// accesses to rl::var that nothing orders. Where its model is narrower than that of C++, and what
// is done about it here:
//  - The modification order of a word is the order in which the stores ran. So "the second store
//    may land before the first" is never seen as such. Words whose stores must all be ordered by
//    happens-before carry an rl::var that is written along: two stores that nothing orders race on
//    it.
//  - A seq_cst load sees all seq_cst stores that ran before, and a store that is not seq_cst never
//    passes a later load. So RelacyModel::kFences is a second way to run each test: seq_cst as
//    compilers make it, a store or read-modify-write with a full fence behind it, a load with none.
//  - A compare-exchange that fails reads the newest value. Of a word, the three newest values are
//    kept. What a thread stores relaxed over its own release store still carries that, as it did
//    before C++20: to see such an order weakened takes another thread's store in between.
//
// Threads: those of relacy. A test runs one simulation at a time.

#ifndef ACRE_LOCK_RELACY_WORD_H_
#define ACRE_LOCK_RELACY_WORD_H_

#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

// relacy.hpp ends with macros for programs that are written for it alone; they break everything
// else.
#pragma push_macro("assert")
#pragma push_macro("errno")
#include "relacy/relacy.hpp"
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef $
#pragma pop_macro("assert")
#pragma pop_macro("errno")

namespace acre {

// How seq_cst is modelled; see above.
enum class RelacyModel { kSeqCst, kFences };

enum class WordOperation {
  kNone,
  kLoad,
  kStore,
  kCompareExchange,
  kFabricWrite,
  kFabricCompareSwap,
};

// A step of what is tested, numbered by the test from 1 on.
using WordStep = int;
constexpr WordStep kAnyStep = 0;

// Operations `operation` on words named `name` that ask for `from` are done with `to`, where the
// thread is in `step`.
struct Weakening {
  const char* name = "";
  WordOperation operation = WordOperation::kNone;
  std::memory_order from = std::memory_order_seq_cst;
  std::memory_order to = std::memory_order_seq_cst;
  WordStep step = kAnyStep;
};

// A thread of a simulation, as its words know it. Each simulation begins with new ones.
struct WordThread {
  WordStep step = kAnyStep;  // Where it is.
  // How many operations it does yet. Whoever has none left dies at the next one. A dead thread's
  // operations do nothing; its loads return 0 and its compare-exchanges true, so that no step waits
  // in vain; its caller then looks at is_dead.
  int operations_left = INT_MAX;
  bool is_dead = false;
};

class RelacyWord {
 public:
  // For all words, while a simulation runs: a word is made by templates that know of neither.
  static inline RelacyModel model = RelacyModel::kSeqCst;
  static inline Weakening weakening;
  static constexpr size_t kThreadsMax = 4;
  static inline std::array<WordThread, kThreadsMax> threads;

  // The thread that calls.
  static WordThread& Mine() { return threads[rl::thread_index()]; }

  RelacyWord() : value_(0) {}

  // Once, before the word is used. `name` is a literal.
  void Name(const char* name) { name_ = name; }
  // Of a word that is stored by one thread at a time.
  void NameOwned(const char* name) {
    name_ = name;
    stores_are_ordered_ = true;
  }

  // As SharedWord's.
  uint64_t Load(std::memory_order order) const {
    if (Dies()) return 0;
    return DoLoad(Weakened(WordOperation::kLoad, order));
  }
  void Store(uint64_t value, std::memory_order order) {
    if (Dies()) return;
    // Before the store, so that whoever sees a release store is behind this, too.
    if (stores_are_ordered_) stores_(RL_INFO) = 1;
    DoStore(value, Weakened(WordOperation::kStore, order));
  }
  bool CompareExchange(uint64_t* expected, uint64_t desired, std::memory_order order) {
    if (Dies()) return true;
    return DoCompareExchange(expected, desired, Weakened(WordOperation::kCompareExchange, order));
  }

  // What the fabric promises (F3 of transport/fabric.h).
  uint64_t FabricRead() const { return DoLoad(std::memory_order_seq_cst); }
  void FabricWrite(uint64_t value) {
    DoStore(value, Weakened(WordOperation::kFabricWrite, std::memory_order_seq_cst));
  }
  bool FabricCompareSwap(uint64_t expected, uint64_t desired) {
    return DoCompareExchange(
        &expected, desired, Weakened(WordOperation::kFabricCompareSwap, std::memory_order_seq_cst));
  }

 private:
  // Whether `order` asks for a full fence behind an operation that stores.
  static bool IsFenced(std::memory_order order) {
    return model == RelacyModel::kFences && order == std::memory_order_seq_cst;
  }
  static void Fence() { rl::ctx().atomic_thread_fence_seq_cst(); }

  static rl::memory_order ToRelacy(std::memory_order order) {
    switch (order) {
      case std::memory_order_relaxed:
        return rl::mo_relaxed;
      case std::memory_order_consume:
        return rl::mo_consume;
      case std::memory_order_acquire:
        return rl::mo_acquire;
      case std::memory_order_release:
        return rl::mo_release;
      case std::memory_order_acq_rel:
        return rl::mo_acq_rel;
      case std::memory_order_seq_cst:
        break;
    }
    return rl::mo_seq_cst;
  }

  std::memory_order Weakened(WordOperation operation, std::memory_order order) const {
    const bool hit = operation == weakening.operation && order == weakening.from &&
                     strcmp(name_, weakening.name) == 0 &&
                     (weakening.step == kAnyStep || weakening.step == Mine().step);
    return hit ? weakening.to : order;
  }

  // Before each operation of a thread's own: whether it does not come to that.
  static bool Dies() {
    WordThread& mine = Mine();
    if (mine.operations_left > 0) {
      --mine.operations_left;
    } else {
      mine.is_dead = true;
    }
    return mine.is_dead;
  }

  uint64_t DoLoad(std::memory_order order) const {
    return value_.load(IsFenced(order) ? rl::mo_acquire : ToRelacy(order), RL_INFO);
  }
  void DoStore(uint64_t value, std::memory_order order) {
    value_.store(value, IsFenced(order) ? rl::mo_release : ToRelacy(order), RL_INFO);
    if (IsFenced(order)) Fence();
  }
  bool DoCompareExchange(uint64_t* expected, uint64_t desired, std::memory_order order) {
    const bool done = value_.compare_exchange_strong(
        *expected, desired, IsFenced(order) ? rl::mo_acq_rel : ToRelacy(order), RL_INFO);
    if (IsFenced(order)) Fence();
    return done;
  }

  rl::atomic<uint64_t> value_;
  rl::var<int> stores_;
  const char* name_ = "";
  bool stores_are_ordered_ = false;
};

}  // namespace acre

#endif  // ACRE_LOCK_RELACY_WORD_H_

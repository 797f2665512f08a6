// Words that another thread, process or network card can touch, and the only ways to touch them.
//
// Everything that lies in a memory region is made of SharedWords. A word is 8 bytes, aligned; a
// load or a store of it never tears, whoever is on the other side: a CPU of this process, a CPU of
// another process that maps the same page, or a card that executes an RDMA READ or WRITE. Nothing
// larger is atomic. Never use memcpy, a vector type or a system call on such memory: all of them
// may split words.
//
// The memory order stands on the word that carries it, there are no free-standing fences (tsan does
// not follow those). What an order can promise ends at the CPU: towards a card, the contract in
// transport/fabric.h holds.
//
// Threads: all functions may be called from any thread. Signals: safe, nothing locks.

#ifndef ACRE_RUNTIME_SHARED_WORD_H_
#define ACRE_RUNTIME_SHARED_WORD_H_

#include <emmintrin.h>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#ifdef ACRE_SIM
#include "runtime/simulated_memory.h"
#endif

namespace acre {

constexpr size_t kWordBytes = 8;
constexpr size_t kLineBytes = 64;

static_assert(std::endian::native == std::endian::little,
              "the formats of shared memory are little-endian");

// One word of shared memory. Zero-filled memory is an array of SharedWords that are 0.
class SharedWord {
 public:
  SharedWord() = default;
  SharedWord(const SharedWord&) = delete;
  SharedWord& operator=(const SharedWord&) = delete;

  [[nodiscard]] uint64_t Load(std::memory_order order) const {
#ifdef ACRE_SIM
    if (simulated_cpu != nullptr) return simulated_cpu->Load(&value_, order);
#endif
    return value_.load(order);
  }
  void Store(uint64_t value, std::memory_order order) {
#ifdef ACRE_SIM
    if (simulated_cpu != nullptr) return simulated_cpu->Store(&value_, value, order);
#endif
    value_.store(value, order);
  }

  // CPU read-modify-writes. Not for a word that fabric atomics target: with Atomicity::kHca either
  // side may lose its update (transport/fabric.h, A2).
  [[nodiscard]] uint64_t Exchange(uint64_t value, std::memory_order order) {
#ifdef ACRE_SIM
    if (simulated_cpu != nullptr) return simulated_cpu->Exchange(&value_, value);
#endif
    return value_.exchange(value, order);
  }
  [[nodiscard]] uint64_t FetchAdd(uint64_t value, std::memory_order order) {
#ifdef ACRE_SIM
    if (simulated_cpu != nullptr) return simulated_cpu->FetchAdd(&value_, value);
#endif
    return value_.fetch_add(value, order);
  }
  // Stores `desired` if the word equals *expected, else reads the word into *expected. Strong.
  [[nodiscard]] bool CompareExchange(uint64_t* expected, uint64_t desired,
                                     std::memory_order order) {
#ifdef ACRE_SIM
    if (simulated_cpu != nullptr) {
      return simulated_cpu->CompareExchange(&value_, expected, desired);
    }
#endif
    return value_.compare_exchange_strong(*expected, desired, order, FailureOrder(order));
  }

 private:
  static constexpr std::memory_order FailureOrder(std::memory_order order) {
    if (order == std::memory_order_acq_rel) return std::memory_order_acquire;
    if (order == std::memory_order_release) return std::memory_order_relaxed;
    return order;
  }

  std::atomic<uint64_t> value_;
};
static_assert(sizeof(SharedWord) == kWordBytes && alignof(SharedWord) == kWordBytes);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// Two neighbouring words of shared memory, as LoadPair found them.
class WordPair {
 public:
  // Stores both to private memory of any alignment.
  void StoreTo(char* to) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bits_); }

 private:
  friend WordPair LoadPair(const SharedWord* words);
  __m128i bits_;
};

// Loads two words of one cache line, before all later loads of this thread (acquire). Neither word
// tears, their order among each other is not defined: for what a word before and one after prove.
inline WordPair LoadPair(const SharedWord* words) {
  WordPair pair;
#if defined(ACRE_SIM)
  const bool descending = simulated_cpu != nullptr && simulated_cpu->RandomBit();
  const uint64_t one = words[descending ? 1 : 0].Load(std::memory_order_acquire);
  const uint64_t other = words[descending ? 0 : 1].Load(std::memory_order_acquire);
  pair.bits_ = _mm_set_epi64x(static_cast<int64_t>(descending ? one : other),
                              static_cast<int64_t>(descending ? other : one));
#elif defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  pair.bits_ = _mm_set_epi64x(static_cast<int64_t>(words[1].Load(std::memory_order_acquire)),
                              static_cast<int64_t>(words[0].Load(std::memory_order_acquire)));
#else
  // One MOVDQU: x86 keeps loads in order, and does not tear an aligned word inside a vector within
  // one line. An asm statement, so that the compiler neither splits, repeats nor moves it.
  asm volatile("movdqu %1, %0"
               : "=x"(pair.bits_)
               : "m"(*reinterpret_cast<const char(*)[16]>(words))
               : "memory");
#endif
  return pair;
}

// In which order a copy visits the words of shared memory. A slot's self-proof (kvs/slot.h) holds
// under either; tests run both, since a card may use either.
enum class CopyOrder : uint8_t { kAscending, kDescending };

// Copies `words` words out of shared memory into private memory, each word once, in the stated
// order: a word is loaded before the loads of all later ones are (acquire). kAscending may load up
// to a whole aligned cache line with one instruction (the widest the machine has, found at run
// time): the words of one line are then sampled together, lines still in order. `to` is 8-byte
// aligned private memory.
void CopyFromShared(uint64_t* to, const SharedWord* from, size_t words, CopyOrder order);

// Copies `words` words of private memory into shared memory, each word once, each with a release
// store in the stated order. The two areas do not overlap.
void CopyToShared(SharedWord* to, const uint64_t* from, size_t words, CopyOrder order);

// Stores 0 in `words` words, ascending, relaxed. The caller publishes it by a later release store.
void ZeroShared(SharedWord* to, size_t words);

// Orders all earlier stores of this thread before all later loads, as seen by every CPU: what keeps
// "store mine, then look at yours" from failing in the store buffer. Implemented by a locked
// instruction on a word of this thread, so both sides of a protocol need it (or a seq_cst exchange
// on its own word).
void StoreLoadBarrier();

}  // namespace acre

#endif  // ACRE_RUNTIME_SHARED_WORD_H_

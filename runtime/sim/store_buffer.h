// The store buffer of a simulated CPU (x86-TSO): stores wait in it, in order, on their way to
// memory.

#ifndef ACRE_RUNTIME_SIM_STORE_BUFFER_H_
#define ACRE_RUNTIME_SIM_STORE_BUFFER_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace acre::sim {

// Invariants: entries leave in the order in which they came; their due times do not fall.
class StoreBuffer {
 public:
  static constexpr size_t kEntriesMax = 64;  // About what CPUs have.

  bool empty() const { return head_ == tail_; }
  // When the oldest entry is due; never (UINT64_MAX) when there is none.
  uint64_t first_due_ns() const { return empty() ? UINT64_MAX : At(head_).due_ns; }
  // When the youngest is: by then the buffer is empty, unless more comes. 0 when there is none.
  uint64_t last_due_ns() const { return empty() ? 0 : At(tail_ - 1).due_ns; }

  // What the CPU itself must load from `word`, if it is in the buffer.
  bool Find(const std::atomic<uint64_t>* word, uint64_t* value) const {
    if ((words_seen_ & BitOf(word)) == 0) return false;
    for (size_t i = tail_; i != head_; --i) {
      if (At(i - 1).word == word) {
        *value = At(i - 1).value;
        return true;
      }
    }
    return false;
  }

  bool HoldsAnyOf(const void* begin, size_t bytes) const {
    const auto first = reinterpret_cast<uintptr_t>(begin);
    for (size_t i = head_; i != tail_; ++i) {
      if (reinterpret_cast<uintptr_t>(At(i).word) - first < bytes) return true;
    }
    return false;
  }

  // The store reaches memory at `due_ns`, or when the one before it does, if that is later. When
  // the buffer is full the oldest goes first.
  void Push(std::atomic<uint64_t>* word, uint64_t value, uint64_t due_ns) {
    if (tail_ - head_ == kEntriesMax) PopFront();
    due_ns = std::max(due_ns, last_due_ns());
    entries_[tail_++ % kEntriesMax] = {word, value, due_ns};
    words_seen_ |= BitOf(word);
  }

  void DrainDue(uint64_t now_ns) {
    while (!empty() && At(head_).due_ns <= now_ns) PopFront();
  }
  void DrainAll() {
    while (!empty()) PopFront();
  }
  // The memory is gone.
  void Drop() {
    head_ = tail_;
    words_seen_ = 0;
  }

 private:
  struct Entry {
    std::atomic<uint64_t>* word;
    uint64_t value;
    uint64_t due_ns;
  };

  static uint64_t BitOf(const std::atomic<uint64_t>* word) {
    return uint64_t{1} << (reinterpret_cast<uintptr_t>(word) / sizeof(uint64_t) % 64);
  }
  const Entry& At(size_t index) const { return entries_[index % kEntriesMax]; }
  void PopFront() {
    // The only OS thread there is; simulated ones take turns.
    At(head_).word->store(At(head_).value, std::memory_order_relaxed);
    ++head_;
    if (empty()) words_seen_ = 0;
  }

  std::array<Entry, kEntriesMax> entries_;
  size_t head_ = 0;  // Both count for ever.
  size_t tail_ = 0;
  uint64_t words_seen_ = 0;  // A word whose bit is not set is not in the buffer.
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_STORE_BUFFER_H_

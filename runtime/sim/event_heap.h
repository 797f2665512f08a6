// Events of a World and the heap that orders them. An event is an object with a place in the heap:
// scheduling one allocates nothing.

#ifndef ACRE_RUNTIME_SIM_EVENT_HEAP_H_
#define ACRE_RUNTIME_SIM_EVENT_HEAP_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "glog/logging.h"

namespace acre::sim {

// Something that happens at a point of virtual time, once for each time it is scheduled.
class Event {
 public:
  Event() = default;
  virtual ~Event() { CHECK(!scheduled()) << "an event is destroyed before it happened: Cancel it"; }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  bool scheduled() const { return heap_index_ != kNotInHeap; }

 private:
  friend class EventHeap;
  friend class World;

  // Called by the World, outside of every simulated thread. May schedule itself again, or delete
  // itself.
  virtual void Run() = 0;

  static constexpr size_t kNotInHeap = SIZE_MAX;
  size_t heap_index_ = kNotInHeap;
};

// Threads:    confined to the World's.
// Ownership:  borrows the events.
// Invariants: the first of entries_ is the earliest; of equal times the one that was pushed first.
class EventHeap {
 public:
  ~EventHeap() { Clear(); }

  bool empty() const { return entries_.empty(); }
  // When the first is due; never (UINT64_MAX) when there is none.
  uint64_t first_ns() const { return entries_.empty() ? UINT64_MAX : entries_.front().at_ns; }

  void Push(Event* event, uint64_t at_ns) {
    CHECK(!event->scheduled()) << "an event is scheduled twice";
    entries_.emplace_back();
    SiftUp(entries_.size() - 1, Entry{at_ns, pushes_++, event});
  }
  // Requires: not empty.
  Event* Pop() {
    Event* const event = entries_.front().event;
    Remove(event);
    return event;
  }
  // Requires: scheduled here.
  void Remove(Event* event) {
    const size_t index = std::exchange(event->heap_index_, Event::kNotInHeap);
    const Entry last = entries_.back();
    entries_.pop_back();
    if (index == entries_.size()) return;
    if (index > 0 && last.Before(entries_[(index - 1) / 2])) {
      SiftUp(index, last);
    } else {
      SiftDown(index, last);
    }
  }
  void Clear() {
    for (const Entry& entry : entries_) entry.event->heap_index_ = Event::kNotInHeap;
    entries_.clear();
  }

 private:
  struct Entry {
    uint64_t at_ns = 0;
    uint64_t sequence = 0;
    Event* event = nullptr;

    bool Before(const Entry& other) const {
      return at_ns != other.at_ns ? at_ns < other.at_ns : sequence < other.sequence;
    }
  };

  void Place(size_t index, const Entry& entry) {
    entries_[index] = entry;
    entry.event->heap_index_ = index;
  }
  void SiftUp(size_t index, const Entry& entry) {
    while (index > 0 && entry.Before(entries_[(index - 1) / 2])) {
      Place(index, entries_[(index - 1) / 2]);
      index = (index - 1) / 2;
    }
    Place(index, entry);
  }
  void SiftDown(size_t index, const Entry& entry) {
    for (;;) {
      size_t child = 2 * index + 1;
      if (child >= entries_.size()) break;
      if (child + 1 < entries_.size() && entries_[child + 1].Before(entries_[child])) ++child;
      if (!entries_[child].Before(entry)) break;
      Place(index, entries_[child]);
      index = child;
    }
    Place(index, entry);
  }

  std::vector<Entry> entries_;
  uint64_t pushes_ = 0;
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_EVENT_HEAP_H_

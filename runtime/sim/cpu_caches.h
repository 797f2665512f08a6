// CpuCaches: what an access of memory costs a simulated thread by where its line is, for runs that ask how fast
// something is. (Runs that ask whether it is right draw the costs: cpu_costs.h.)
//
// Every thread has a core, with a cache that holds whatever it has touched. A line is in the caches of several cores that
// only read it, or in that of the one that writes it. An access that does not find it so waits till the line has come,
// and one line goes to one core after the other: threads that fight for a word stand in line for it.
//
// Lines are those of memory that AddLines() has named. Any other word is a line of its own: which words of the heap lie
// beside each other differs from run to run.
//
// Left out: stores wait as loads do (no store buffer hides them), caches are never full, all cores are equally far, and
// what cards write stays in the cores' caches.
//
// Threads: confined to the World's.

#ifndef ACRE_RUNTIME_SIM_CPU_CACHES_H_
#define ACRE_RUNTIME_SIM_CPU_CACHES_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>

#include "absl/container/flat_hash_map.h"

namespace acre::sim {

// In nanoseconds of virtual time: those of a server with some tens of cores.
constexpr uint64_t kCacheHitNs = 1;
constexpr uint64_t kLockedNs = 6;  // A read-modify-write, or a barrier, beside its line's way.
constexpr uint64_t kLineTransferNs = 70;  // From memory, or from another core.
constexpr uint64_t kPauseNs = 20;
constexpr uint64_t kReadClockNs = 10;
// Nobody else wants the core: a call of the kernel's, and an interrupt that ends a sleep.
constexpr uint64_t kYieldNs = 300;
constexpr uint64_t kWakeUpNs = 3'000;

class CpuCaches {
 public:
  // Requires: `begin` is aligned to a line. Memory that is given back stays what it was.
  void AddLines(const void* begin, size_t bytes) {
    size_t& known = areas_[reinterpret_cast<uintptr_t>(begin)];
    known = bytes > known ? bytes : known;
  }

  // What the access at `now_ns` takes. Threads whose numbers are 64 apart count as one core: no more than 64 of a machine
  // run at once.
  uint64_t Load(const void* word, uint32_t thread, uint64_t now_ns) {
    Line& line = LineOf(word);
    const uint64_t mine = BitOf(thread);
    if ((line.holders & mine) != 0) return kCacheHitNs;
    line.holders |= mine;
    return Transfer(&line, now_ns);
  }
  // A store, or the other half of a read-modify-write.
  uint64_t Store(const void* word, uint32_t thread, uint64_t now_ns) {
    Line& line = LineOf(word);
    const uint64_t mine = BitOf(thread);
    if (line.holders == mine) return kCacheHitNs;
    line.holders = mine;
    return Transfer(&line, now_ns);
  }

 private:
  struct Line {
    uint64_t holders = 0;  // A bit for each core. One: it may write.
    uint64_t free_from_ns = 0;
  };

  static uint64_t BitOf(uint32_t thread) { return uint64_t{1} << (thread % 64); }
  static uint64_t Transfer(Line* line, uint64_t now_ns) {
    const uint64_t begin_ns = line->free_from_ns > now_ns ? line->free_from_ns : now_ns;
    line->free_from_ns = begin_ns + kLineTransferNs;
    return line->free_from_ns - now_ns;
  }
  Line& LineOf(const void* word) {
    Line*& line = by_word_[word];
    if (line == nullptr) line = FindLine(reinterpret_cast<uintptr_t>(word));
    return *line;
  }
  // Of a word that is touched for the first time.
  Line* FindLine(uintptr_t address);

  std::deque<Line> lines_;
  // By address: looked up, never gone through in order.
  absl::flat_hash_map<const void*, Line*> by_word_;
  absl::flat_hash_map<uintptr_t, Line*> by_number_;  // Of what AddLines() has named.
  std::map<uintptr_t, size_t> areas_;                // Its bytes, by the first one's address.
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_CPU_CACHES_H_

// The load of bench/locks: a lock table that is spread over nodes, and threads that take and give back its locks;
// what a slice of it came to.
//
// A node is one process, or several that share its locks' memory (shm). The first process of a node is the home of its
// locks. Processes, and the threads of all of them, are numbered through.

#ifndef ACRE_BENCH_LOCK_LOAD_H_
#define ACRE_BENCH_LOCK_LOAD_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "bench/histogram.h"
#include "lock/lock_words.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/address.h"
#include "transport/fabric.h"
#include "transport/region_header.h"

namespace acre::bench {

enum class TableLock : uint8_t {
  kALock,
  kMcs,      // RDMA MCS: through the fabric for own locks too.
  kSpin,     // RDMA spin: likewise.
  kTicket,   // CpuTicketLock: own locks only.
  kCpuSpin,  // CpuSpinLock: likewise.
  kNone,     // No lock: what the loop alone costs. Holders are not alone.
};
constexpr size_t kTableLocksCount = 6;
const char* TableLockName(TableLock kind);
// "alock,mcs": none twice. InvalidArgument: says which is none.
absl::StatusOr<std::vector<TableLock>> ParseTableLocks(absl::string_view text);
// Whether only threads that have a lock mapped can take it.
constexpr bool IsCpuLock(TableLock kind) {
  return kind == TableLock::kTicket || kind == TableLock::kCpuSpin || kind == TableLock::kNone;
}

struct LockLoadOptions {
  uint32_t nodes = 2;
  uint32_t processes = 1;  // Of each node.
  uint32_t threads = 1;    // Of each process.
  uint32_t locks_max = 0;  // Of all nodes together, of the longest table.
  LockBudgets budgets;
  bool intents = true;  // Remote ALocks record themselves at the home, for the repair of crashes.
  // Each holder reads a counter that the lock guards, and writes it plus 1.
  bool counts = false;
  uint32_t hold_ns =
      0;  // Each holder computes for so long: between reading and writing, if it counts.
  uint64_t seed = 0;  // Of which locks the threads pick; simulated: of all that is drawn.
  std::string fabric = "shm";
  std::vector<std::string> devices;  // Of the nodes in turn; empty: the provider's choice.
  PollMode poll = PollMode::kAdaptive;
  Clock* clock = nullptr;

  uint32_t processes_count() const { return nodes * processes; }
  uint32_t threads_count() const { return processes_count() * threads; }
  uint32_t ProcessOfThread(uint32_t thread) const { return thread / threads; }
  uint32_t NodeOfProcess(uint32_t process) const { return process / processes; }
  uint32_t HomeOfNode(uint32_t node) const { return node * processes; }
  // The first nodes have one lock more, where they do not share out evenly.
  uint32_t LocksOfNode(uint32_t node, uint32_t locks) const {
    return locks / nodes + (node < locks % nodes ? 1 : 0);
  }
};

// Where the locks of a node lie: in one region, a table for each kind of lock, so that no word is ever of two kinds.
constexpr uint32_t kLockRegionFirst = 1'000;  // And up: plus the node's number.
constexpr uint32_t kLockStrideBytes = 2 * kLineBytes;
constexpr uint32_t kGuardedOffsetBytes = kLineBytes;  // The counter, on a line of its own.

inline GlobalAddress TableLockAddress(const LockLoadOptions& options, TableLock kind, uint32_t node,
                                      uint32_t number) {
  const uint32_t table = static_cast<uint32_t>(kind) * options.LocksOfNode(0, options.locks_max);
  return GlobalAddress(
      kLockRegionFirst + node,
      static_cast<uint32_t>(transport::kRegionHeaderBytes) + (table + number) * kLockStrideBytes);
}
// Where a lock stands in a list of all of them: of all kinds, nodes and their locks, in the order in which they lie.
inline size_t LockIndex(const LockLoadOptions& options, TableLock kind, uint32_t node,
                        uint32_t number) {
  return (static_cast<size_t>(kind) * options.nodes + node) *
             options.LocksOfNode(0, options.locks_max) +
         number;
}
inline size_t LockIndexesCount(const LockLoadOptions& options) {
  return LockIndex(options, static_cast<TableLock>(kTableLocksCount), 0, 0);
}
inline size_t TableRegionBytes(const LockLoadOptions& options) {
  return transport::kRegionHeaderBytes +
         kTableLocksCount * options.LocksOfNode(0, options.locks_max) * size_t{kLockStrideBytes};
}

// What all threads do.
struct LockTask {
  TableLock kind = TableLock::kALock;
  uint32_t locks = 0;  // Of the table.
  uint32_t locality_percent = 100;
};

// The same from begin_ns to end_ns of the load's clock (CLOCK_MONOTONIC, which the processes of a machine share).
struct LockSlice {
  LockTask task;
  uint64_t begin_ns = 0;
  uint64_t end_ns = 0;
};

// By whose lock it is.
enum LockSide : size_t { kOwnLock, kOthersLock };

// What a thread, or several, did in a slice.
struct LockTotal {
  std::array<uint64_t, 2> operations = {};  // By LockSide.
  // Posted for the operations of each side. Under contention some of one operation's, which hand its lock on in the
  // background, count for the next one's.
  std::array<transport::VerbCounters, 2> verbs = {};
  uint64_t run_ns = 0;   // Of one thread.
  Histogram acquire_ns;  // Of a sample of the operations: to wait for the lock and get it.

  uint64_t operations_count() const { return operations[kOwnLock] + operations[kOthersLock]; }
  double operations_per_second() const {
    return static_cast<double>(operations_count()) * 1e9 /
           static_cast<double>(std::max<uint64_t>(run_ns, 1));
  }
  void Add(const LockTotal& other);

  // Text from which Parse() makes the same; nothing: the text is none of these.
  std::string Serialize() const;
  static absl::optional<LockTotal> Parse(absl::string_view text);
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_LOAD_H_

// What writers have done (kvs/remote_writer.h): for budgets and for people.

#ifndef ACRE_KVS_WRITER_STATS_H_
#define ACRE_KVS_WRITER_STATS_H_

#include <cstdint>

namespace acre::kvs {

struct WriterStats {
  uint64_t updates = 0;   // That were done.
  uint64_t not_here = 0;  // Not by this path.
  uint64_t retries = 0;   // The record had moved before its lock was held.
  // Requests of the writer's own; the locker's come on top (docs/updates.md has the budget).
  uint64_t reads = 0;
  uint64_t writes = 0;
  // Waits for the network: READs, locks, releases. A lock that is not free takes more of them.
  uint64_t round_trips = 0;

  WriterStats& operator+=(const WriterStats& other) {
    updates += other.updates;
    not_here += other.not_here;
    retries += other.retries;
    reads += other.reads;
    writes += other.writes;
    round_trips += other.round_trips;
    return *this;
  }
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_WRITER_STATS_H_

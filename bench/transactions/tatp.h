// TATP: the telecommunication benchmark (IBM Software Group: "Telecommunication Application Transaction Processing
// Benchmark Description", 2009): a home location register of subscribers.
//
//   kind                  %   reads                                        writes
//   get_subscriber       35   subscriber
//   get_new_destination  10   special facility; if it is active, the call
//                             forwardings that start by then (1 to 3)
//   get_access           35   access info
//   update_subscriber     2   subscriber, special facility                 both
//   update_location      14   number, subscriber                           subscriber
//   insert_forwarding     2   number, special facility, call forwarding    call forwarding, new
//   delete_forwarding     2   number, call forwarding                      call forwarding, gone
//
// Population, by subscriber: one subscriber, one number (its secondary key), 1 to 4 access infos and as many special
// facilities, of which 85 % are active, 0 to 3 call forwardings of each facility. Refused as published: a row that is not
// there, or is there already, or whose facility is inactive or not there. Such transactions count, their rate is told.
// Of the fresh
// population that is 37.5 % of get_access and update_subscriber, 69 % of insert_forwarding and delete_forwarding, 85 % of
// get_new_destination.
//
// Subscribers are chosen as there, non-uniformly: ((0 to A) | (1 to n)) mod n + 1, each number drawn uniformly, with A =
// 65535 up to a million subscribers, 1048575 up to ten million, else 2097151.
//
// Rows are encoded small: a subscriber in 28 B (10 bits, 10 digits of 4 bits, 10 bytes, two locations), an access info in 10,
// a special facility in 8, a call forwarding in 9 (its number as a number), a number in 4, each with a key of 8 B: all of
// them lie in the index itself. All rows of a subscriber are on one server; of `spread_percent` of the subscribers each
// row is where its hash says.
//
// Audit: how many call forwardings there are.

#ifndef ACRE_BENCH_TRANSACTIONS_TATP_H_
#define ACRE_BENCH_TRANSACTIONS_TATP_H_

#include <cstdint>
#include <memory>

#include "bench/transactions/workload.h"

namespace acre::bench {

struct TatpOptions {
  uint32_t subscribers = 100'000;
  uint32_t servers_count = 1;
  uint32_t spread_percent = 0;
};

// Requires: at least one subscriber, at most a percent of 100.
std::unique_ptr<TxnWorkload> MakeTatp(const TatpOptions& options);

// A subscriber's number less 1, below `subscribers`, as the specification chooses it.
uint32_t PickSubscriber(uint32_t subscribers, Random* random);

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_TATP_H_

// SmallBank: customers with a savings and a checking account each.
//
// Source: Alomari, Cahill, Fekete, Roehm: "The cost of serializability on platforms that use snapshot isolation", ICDE
// 2008; shares and amounts as in the H-Store and OLTP-Bench versions of it, which most papers on transactions over RDMA
// follow:
//
//   kind              %   reads                                  writes
//   amalgamate       15   both of one, checking of another       all three: all the money of one goes to the other
//   balance          15   both                                   nothing
//   deposit_checking 15   checking                               checking, 1.30 more
//   send_payment     25   checking of two                        both: 5.00 from one to the other. Refused: too little
//   transact_savings 15   savings                                savings, 20.20 less. Refused: too little
//   write_check      15   both                                   checking: 5.00 less, and 1.00 more than that if there is
//                                                                too little in both
//
// As in those papers there is no table of names: customers are known by their number. Both accounts of a customer are
// on one server, those of another perhaps on another one. Balances are in cents, and start between 10,000.00 and
// 50,000.00. Keys and values have 8 bytes. Audit: the sum of all balances; what goes in and out is counted.

#ifndef ACRE_BENCH_TRANSACTIONS_SMALLBANK_H_
#define ACRE_BENCH_TRANSACTIONS_SMALLBANK_H_

#include <memory>

#include "bench/transactions/workload.h"

namespace acre::bench {

// Requires: JudgeChoice() lets it pass.
std::unique_ptr<TxnWorkload> MakeSmallBank(const UnitChoice& choice);

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_SMALLBANK_H_

// The plain mixes of bench/txn.
//
// Transfer: two accounts are read in one MultiGet, an amount of 1 to 100 goes from the first to the second, in two Puts.
// With `read_percent` so many transactions only read both. An account is a key of 8 bytes and a balance of 8, and
// starts with 1000; it may go below 0. Audit: the sum of all balances, which nothing changes.
//
// Counter: one record that every transaction increments: the most contended workload there is. Audit: the counter.

#ifndef ACRE_BENCH_TRANSACTIONS_TRANSFER_H_
#define ACRE_BENCH_TRANSACTIONS_TRANSFER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "bench/transactions/workload.h"

namespace acre::bench {

// Requires: JudgeChoice() lets it pass; read_percent <= 100.
std::unique_ptr<TxnWorkload> MakeTransfer(const UnitChoice& choice, uint32_t read_percent);
// An account's key, for those who transfer by other means.
std::string TransferKey(const TxnKeys& keys, uint32_t account);

std::unique_ptr<TxnWorkload> MakeCounter();

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_TRANSFER_H_

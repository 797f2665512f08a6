// The records of a workload of transactions: loading and auditing them.

#ifndef ACRE_BENCH_TRANSACTIONS_POPULATION_H_
#define ACRE_BENCH_TRANSACTIONS_POPULATION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/transactions/workload.h"
#include "client/client.h"

namespace acre::bench {

// Puts all records, many at a time. Those that are there already are replaced. Errors: the first of a Put.
absl::Status LoadPopulation(const ClientOptions& options, const TxnWorkload& workload);

// The sum over all records that are audited. Nobody runs transactions meanwhile. Errors: a read's; DataLoss - a record is
// missing, or none of the workload's.
absl::StatusOr<int64_t> AuditPopulation(const ClientOptions& options, const TxnWorkload& workload);

// How many records there are to load. Makes them all.
uint64_t CountRecords(const TxnWorkload& workload);

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_POPULATION_H_

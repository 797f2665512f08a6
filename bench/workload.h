// Workloads of YCSB: how the operations are mixed and which records they touch.
//
//   a  50 % read, 50 % update, zipfian        c  read only, zipfian
//   b  95 % read,  5 % update, zipfian        d  95 % read, 5 % insert, latest
//   f  50 % read, 50 % read-modify-write, zipfian
//   (e scans: it needs an ordered index, which Acre does not have.)
//
// Source: Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010; property files
// as in the wiki of the YCSB project, "Core Properties".

#ifndef ACRE_BENCH_WORKLOAD_H_
#define ACRE_BENCH_WORKLOAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "bench/distribution.h"
#include "bench/inserted_records.h"
#include "runtime/random.h"

namespace acre::bench {

struct Workload {
  std::string name;
  double read_share = 0;
  double update_share = 0;
  double insert_share = 0;
  double read_modify_write_share = 0;  // The four add up to 1.
  Distribution distribution = Distribution::kZipfian;
  double zipfian_constant = 0.99;
  // Set by a property file that names them.
  absl::optional<uint64_t> records_count;
  absl::optional<uint64_t> operations_count;
  absl::optional<uint64_t> value_bytes;
  std::vector<std::string> unknown_properties;
};

// "a", "b", "c", "d", "f", either case. InvalidArgument: another name; "e", with the reason.
absl::StatusOr<Workload> PresetWorkload(absl::string_view name);

// The text of a YCSB property file. InvalidArgument, naming the line: a value makes no sense, or
// the workload scans.
absl::StatusOr<Workload> ParseWorkload(absl::string_view file_name, absl::string_view text);

// A preset's name, or the path of a property file.
absl::StatusOr<Workload> LoadWorkload(const std::string& name_or_path);

enum class OperationKind : uint8_t { kRead, kUpdate, kInsert, kReadModifyWrite };

struct Operation {
  OperationKind kind;
  uint64_t record;
};

// The operations of one thread. An insert must be ended with InsertedRecords::Finish(). Where inserts are too
// far ahead of the oldest (InsertedRecords::Begin()), a read takes the place of one.
//
// Threads: confined to one; `records` is shared.
class OperationSource {
 public:
  OperationSource(const Workload& workload, uint64_t loaded_count, InsertedRecords* records,
                  uint64_t seed);

  Operation Next() {
    OperationKind kind = NextKind();
    if (kind == OperationKind::kInsert) {
      const absl::optional<uint64_t> number = records_->Begin();
      if (number.has_value()) return {kind, *number};
      kind = OperationKind::kRead;
    }
    return {kind, picker_.Next(records_->count(), &random_)};
  }
  // A number for Value()'s sequence that no other write has.
  uint64_t NextSequence() { return sequence_++; }
  InsertedRecords* records() const { return records_; }

 private:
  OperationKind NextKind() {
    if (read_below_ > UINT32_MAX) return OperationKind::kRead;
    return DrawKind();
  }
  OperationKind DrawKind();

  InsertedRecords* const records_;
  Random random_;
  RecordPicker picker_;
  uint64_t sequence_;
  // Bounds of a 32-bit random number: below the first a read, below the second an update, ...
  uint64_t read_below_;
  uint64_t update_below_;
  uint64_t insert_below_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_WORKLOAD_H_

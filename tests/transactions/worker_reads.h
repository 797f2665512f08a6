// What a worker of tests/transactions/workload.h reads with: one of the product's readers, on its thread.

#ifndef ACRE_TESTS_TRANSACTIONS_WORKER_READS_H_
#define ACRE_TESTS_TRANSACTIONS_WORKER_READS_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "kvs/mapped_reader.h"
#include "kvs/read_mark.h"
#include "kvs/remote_reader.h"
#include "runtime/scheduler.h"
#include "tests/transactions/marked_read.h"

namespace acre::kvs {

struct WorkerReads {
  Scheduler* scheduler = nullptr;
  // One of them is null.
  MappedReader* mapped = nullptr;
  RemoteReader* remote = nullptr;
  // For a record that stays locked: maybe by this very thread.
  uint64_t patience_ns = 0;

  // nullopt: it stayed locked, or the READ took too long.
  absl::optional<MarkedRead> Read(const std::string& key) const {
    MarkedRead read;
    MarkedGet get = {key, &read.value, {}, {}};
    if (mapped != nullptr) {
      get.status = mapped->GetMarked(key, &read.value, &get.mark, patience_ns);
    } else {
      scheduler->RunUntilDone(remote->MultiGetMarked({&get, 1}, scheduler->NowNs() + patience_ns));
    }
    if (absl::IsUnavailable(get.status) || absl::IsDeadlineExceeded(get.status)) return {};
    EXPECT_TRUE(get.status.ok() || absl::IsNotFound(get.status)) << get.status;
    read.found = get.status.ok();
    if (!read.found) read.value.clear();
    read.mark = get.mark;
    return read;
  }
  bool Stand(absl::Span<const ReadMark> marks) const {
    absl::optional<size_t> changed;
    const absl::Status status = mapped != nullptr
                                    ? mapped->Validate(marks, &changed)
                                    : scheduler->RunUntilDone(remote->Validate(
                                          marks, &changed, /*deadline_ns=*/UINT64_MAX));
    EXPECT_TRUE(status.ok()) << status;
    return status.ok() && !changed.has_value();
  }
};

}  // namespace acre::kvs

#endif  // ACRE_TESTS_TRANSACTIONS_WORKER_READS_H_

// Driver: how one thread of the load generator sends operations along one path. Closed loop: an
// operation begins when one before it is done. Open loop: it begins at its time (bench/pacer.h), or as
// soon after as a place is free, and its latency counts from that time.
//
// Threads: made, connected, run and destroyed on one thread. What is shared says so.

#ifndef ACRE_BENCH_DRIVER_H_
#define ACRE_BENCH_DRIVER_H_

#include <emmintrin.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "bench/histogram.h"
#include "bench/pacer.h"
#include "bench/record.h"
#include "bench/workload.h"
#include "client/client.h"
#include "kvs/reader.h"
#include "runtime/clock.h"
#include "runtime/mutex.h"
#include "runtime/shared_word.h"

namespace acre::bench {

// Counts what went wrong, and prints the first few on stderr.
//
// Threads: any.
class ErrorLog {
 public:
  static constexpr uint64_t kPrintedMax = 5;
  // After so many nothing useful is measured any more.
  static constexpr uint64_t kErrorsMax = 1000;

  void Add(absl::string_view message);
  uint64_t count() const { return count_.Load(std::memory_order_relaxed); }
  bool too_many() const { return count() >= kErrorsMax; }

 private:
  Mutex mutex_;
  SharedWord count_;  // Stored under the mutex, loaded by all, also in hot loops.
};

// What a thread saw on one path. Read by others only while the thread waits at a barrier.
struct Result {
  // Sums, and of the latencies the merged ones.
  void Add(const Result& other);

  uint64_t operations = 0;
  uint64_t errors = 0;
  uint64_t backlog =
      0;  // Open loop: operations that were late when the last slice ended, never begun.
  uint64_t run_ns = 0;  // Time in slices, the wait for the last answers included.
  kvs::ReaderStats reader;
  transport::VerbCounters verbs;  // Of the clients.
  Histogram latency_ns;
};

struct DriverOptions {
  ClientOptions client;
  uint32_t servers_count = 1;  // Of the cluster.
  uint32_t connections = 16;  // Path::kTcp only. In a cluster each is a connection to every server.
  uint32_t batch = 1;         // Keys per MultiGet, or requests in flight on each connection.
  size_t key_bytes = 16;
  size_t value_bytes = 32;
  uint32_t verify_every = 1;  // Every how many-th value is checked. 0: none.
};

// What a driver works with during a run. Outlives the driver.
struct ThreadContext {
  Clock* clock = nullptr;
  OperationSource* source = nullptr;
  ErrorLog* errors = nullptr;
  // Set by the main thread when the slice is over; only loaded here, at each operation.
  const SharedWord* stop = nullptr;
  // The open loop's schedule, of this thread on this driver's path. Null: closed loop.
  Pacer* pacer = nullptr;
};

class Driver {
 public:
  virtual ~Driver() = default;

  virtual absl::Status Connect() = 0;
  // Operates till context.stop is set, `operations_max` are done, or ErrorLog::too_many(); then
  // waits for what is under way. Adds to *result.
  virtual void RunSlice(uint64_t operations_max, Result* result) = 0;
  // What was picked. Requires: connected.
  virtual Path path() const = 0;
  virtual std::string fabric() const = 0;
};

// For options.client.path.
std::unique_ptr<Driver> MakeDriver(const DriverOptions& options, const ThreadContext& context);

// Through the blocking Client: every path but kTcp and kRpc. One call at a time.
std::unique_ptr<Driver> MakeBlockingDriver(const DriverOptions& options,
                                           const ThreadContext& context);
// The same as an open loop: up to `batch` reads that are late go as one MultiGet. Requires: a pacer.
std::unique_ptr<Driver> MakePacedBlockingDriver(const DriverOptions& options,
                                                const ThreadContext& context);
// Through AsyncClient, `batch` coroutines; on Path::kTcp through `connections` of them.
std::unique_ptr<Driver> MakeAsyncDriver(const DriverOptions& options, const ThreadContext& context);
// Through `connections` SocketConnections to a single server, `batch` requests on each.
std::unique_ptr<Driver> MakeSocketDriver(const DriverOptions& options,
                                         const ThreadContext& context);

// Times and judges the operations of one slice; shared by the drivers.
class SliceRecorder {
 public:
  // Borrows all. Resumes the schedule, where there is one.
  SliceRecorder(const DriverOptions& options, const ThreadContext& context, uint64_t operations_max,
                Result* result);
  // Adds the slice's time to the result. Pauses the schedule, if nobody did.
  ~SliceRecorder();

  // Another operation may begin; counts it as begun.
  bool MayBegin() {
    if (operations_left_ == 0 || context_.stop->Load(std::memory_order_relaxed) != 0) return false;
    --operations_left_;
    return true;
  }
  uint64_t Ticks() const { return ticks_.Ticks(); }
  double ns_per_tick() const { return ns_per_tick_; }
  // Open loop: no operation begins any more, the schedule stands still. Before the wait for those that
  // are under way.
  void PauseSchedule() {
    if (context_.pacer != nullptr) context_.pacer->Pause(Ticks());
  }
  // Now, after all loads before it and before all behind it: else the CPU reads the clock while the
  // cache misses of what is timed are still under way, and a Get from memory seems to take nothing.
  uint64_t OrderedTicks() const {
    _mm_lfence();
    const uint64_t ticks = ticks_.Ticks();
    _mm_lfence();
    return ticks;
  }
  // An operation from then to then; it stands for `weight` of which the time was not taken.
  void AddTimed(uint64_t begin_ticks, uint64_t end_ticks, uint64_t weight = 1) {
    // A thread that changes cores may read a little less than the time it waited for.
    const auto ticks = static_cast<double>(end_ticks > begin_ticks ? end_ticks - begin_ticks : 0);
    result_->latency_ns.Add(static_cast<uint64_t>(ticks * ns_per_tick_), weight);
  }
  void AddDone(uint64_t operations = 1) { result_->operations += operations; }

  // Counts an error unless the value is the record's.
  void JudgeRead(uint64_t record, const absl::Status& status, absl::string_view value) {
    if (!status.ok()) return AddReadError(record, status);
    JudgeValue(record, value);
  }
  void AddReadError(uint64_t record, const absl::Status& status);
  void JudgeValue(uint64_t record, absl::string_view value) {
    if (options_.verify_every == 0 || --verify_in_ != 0) return;
    verify_in_ = options_.verify_every;
    if (!IsValueOf(record, value)) AddWrongValue(record, value);
  }
  // Ends an insert too.
  void JudgeWrite(const Operation& operation, const absl::Status& status) {
    if (operation.kind == OperationKind::kInsert) {
      context_.source->records()->Finish(operation.record, status.ok());
    }
    if (!status.ok()) AddWriteError(operation.record, status);
  }
  void AddError(absl::string_view message);

 private:
  void AddWriteError(uint64_t record, const absl::Status& status);
  void AddWrongValue(uint64_t record, absl::string_view value);

  const DriverOptions& options_;
  const ThreadContext& context_;
  Result* const result_;
  uint64_t operations_left_;
  uint32_t verify_in_;
  const TickClock ticks_;
  const double ns_per_tick_;
  const uint64_t begin_ns_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_DRIVER_H_

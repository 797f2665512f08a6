#include "bench/driver.h"

#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace acre::bench {

void ErrorLog::Add(absl::string_view message) {
  const MutexLock lock(&mutex_);
  const uint64_t count = count_.Load(std::memory_order_relaxed) + 1;
  count_.Store(count, std::memory_order_relaxed);
  if (count <= kPrintedMax) std::cerr << "error: " << message << std::endl;
  if (count == kPrintedMax) std::cerr << "further errors are only counted" << std::endl;
  if (count == kErrorsMax) std::cerr << "too many errors: the run ends" << std::endl;
}

void Result::Add(const Result& other) {
  operations += other.operations;
  errors += other.errors;
  backlog += other.backlog;
  run_ns += other.run_ns;
  reader.gets += other.reader.gets;
  reader.reads += other.reader.reads;
  reader.retries += other.reader.retries;
  reader.misses += other.reader.misses;
  verbs += other.verbs;
  latency_ns.Merge(other.latency_ns);
}

std::unique_ptr<Driver> MakeDriver(const DriverOptions& options, const ThreadContext& context) {
  switch (options.client.path) {
    case Path::kAuto:
    case Path::kMapped:
    case Path::kOneSided:
      return context.pacer == nullptr ? MakeBlockingDriver(options, context)
                                      : MakePacedBlockingDriver(options, context);
    case Path::kRpc:
      return MakeAsyncDriver(options, context);
    case Path::kTcp:
      // A bare connection does not know whose a key is.
      return options.servers_count > 1 ? MakeAsyncDriver(options, context)
                                       : MakeSocketDriver(options, context);
  }
  LOG(FATAL) << "not a Path";
}

SliceRecorder::SliceRecorder(const DriverOptions& options, const ThreadContext& context,
                             uint64_t operations_max, Result* result)
    : options_(options),
      context_(context),
      result_(result),
      operations_left_(operations_max),
      verify_in_(options.verify_every),
      ticks_(context.clock->tick_clock()),
      ns_per_tick_(1 / context.clock->ticks_per_ns()),
      begin_ns_(context.clock->NowNs()) {
  if (context.pacer != nullptr) context.pacer->Resume(Ticks());
}

SliceRecorder::~SliceRecorder() {
  PauseSchedule();
  if (context_.pacer != nullptr) result_->backlog = context_.pacer->backlog();
  result_->run_ns += context_.clock->NowNs() - begin_ns_;
}

void SliceRecorder::AddError(absl::string_view message) {
  ++result_->errors;
  context_.errors->Add(message);
  if (context_.errors->too_many()) operations_left_ = 0;
}

void SliceRecorder::AddReadError(uint64_t record, const absl::Status& status) {
  AddError(absl::StrCat("Get of record ", record, " on ", PathName(options_.client.path), ": ",
                        status.ToString()));
}

void SliceRecorder::AddWriteError(uint64_t record, const absl::Status& status) {
  AddError(absl::StrCat("Put of record ", record, " on ", PathName(options_.client.path), ": ",
                        status.ToString()));
}

void SliceRecorder::AddWrongValue(uint64_t record, absl::string_view value) {
  AddError(absl::StrCat("Get of record ", record, " on ", PathName(options_.client.path),
                        ": the value is not one that was written to it, ", value.size(),
                        " bytes: ", absl::CHexEscape(value.substr(0, 64)),
                        "; was it loaded with --load of this program?"));
}

}  // namespace acre::bench

#include "transport/fabric.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/region_header.h"

namespace acre::transport {

const char* CompletionStatusName(CompletionStatus status) {
  switch (status) {
    case CompletionStatus::kOk:
      return "ok";
    case CompletionStatus::kLocalError:
      return "local error";
    case CompletionStatus::kBadKey:
      return "bad key";
    case CompletionStatus::kAccess:
      return "access";
    case CompletionStatus::kBounds:
      return "bounds";
    case CompletionStatus::kAtomicDomain:
      return "atomic domain";
    case CompletionStatus::kRetryExceeded:
      return "retry exceeded";
    case CompletionStatus::kFlushed:
      return "flushed";
  }
  return "unknown";
}

MemoryRegion::~MemoryRegion() {
  MutexLock lock(&doors_mutex_);
  CHECK(doors_.empty()) << "second doors go before the memory that they lead to";
}

void MemoryRegion::Close() {
  // Peers load it behind the data that they read, and refuse them once they see this. seq_cst: it has
  // left the store buffer before whatever the caller does next, such as giving its port to others.
  reinterpret_cast<RegionHeader*>(words_)->state.Store(kRegionClosed, std::memory_order_seq_cst);
  MemoryRegion* const memory = original_ != nullptr ? original_ : this;
  MutexLock lock(&memory->doors_mutex_);
  memory->OnClose();
  for (MemoryRegion* door : memory->doors_) door->OnClose();
}

void MemoryRegion::JoinDoorsOf(MemoryRegion* memory) {
  CHECK(original_ == nullptr && memory->original_ == nullptr)
      << "a door leads to memory, not to a door";
  original_ = memory;
  MutexLock lock(&memory->doors_mutex_);
  memory->doors_.push_back(this);
}

void MemoryRegion::LeaveDoors() {
  MutexLock lock(&original_->doors_mutex_);
  std::vector<MemoryRegion*>& doors = original_->doors_;
  doors.erase(std::find(doors.begin(), doors.end(), this));
}

VerbCounters& VerbCounters::operator+=(const VerbCounters& other) {
  reads += other.reads;
  writes += other.writes;
  atomics += other.atomics;
  doorbells += other.doorbells;
  round_trips += other.round_trips;
  return *this;
}

VerbCounters& VerbCounters::operator-=(const VerbCounters& other) {
  reads -= other.reads;
  writes -= other.writes;
  atomics -= other.atomics;
  doorbells -= other.doorbells;
  round_trips -= other.round_trips;
  return *this;
}

absl::Status QueuePair::Post(absl::Span<const WorkRequest> batch) {
  VerbCounters asked = {.doorbells = 1};
  for (const WorkRequest& request : batch) {
    switch (request.opcode) {
      case Opcode::kRead:
        ++asked.reads;
        asked.round_trips = 1;
        break;
      case Opcode::kWrite:
      case Opcode::kWriteWithImm:
        ++asked.writes;
        break;
      case Opcode::kCompareSwap:
      case Opcode::kFetchAdd:
        ++asked.atomics;
        asked.round_trips = 1;
        break;
    }
  }
  absl::Status status = DoPost(batch);
  if (status.ok()) posted_ += asked;
  return status;
}

VerbCounters QueuePair::verbs() const {
  VerbCounters verbs = posted_;
  verbs.reads += reads_at_once_;
  verbs.doorbells += reads_at_once_;
  verbs.round_trips += reads_at_once_;
  return verbs;
}

absl::StatusOr<std::unique_ptr<MemoryRegion>> Fabric::RegisterRegion(MemoryRegion* /*memory*/,
                                                                     uint32_t /*peer_rights*/) {
  return absl::UnimplementedError(
      absl::StrCat("fabric ", device().provider, " gives peers only memory that it made itself"));
}

}  // namespace acre::transport

#include "client/fabric_set.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/providers/providers.h"

namespace acre {
namespace {

constexpr absl::string_view kAuto = "auto";

// Which of them map the server's memory.
bool CanMap(absl::string_view kind) { return kind == "shm"; }

}  // namespace

absl::StatusOr<std::unique_ptr<FabricSet>> FabricSet::Create(Scheduler* scheduler,
                                                             absl::string_view name,
                                                             std::string device, bool must_map) {
  if (name != kAuto) {
    if (const absl::Status judged = transport::JudgeProvider(name); !judged.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(judged.message(), "; ", kAuto, " is the best of them"));
    }
    const absl::Status device_judged = transport::JudgeDevice(device, {std::string(name)});
    if (!device_judged.ok()) return device_judged;
    if (must_map && !CanMap(name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "path mapped reads the server's memory in place, which fabric ", name,
          " cannot: use path auto or one_sided, or fabric shm on the server's machine"));
    }
  }
  auto set = absl::WrapUnique(new FabricSet(scheduler, std::move(device), name == kAuto));
  for (const absl::string_view kind : transport::ProviderNames()) {
    if ((name == kAuto || name == kind) && (CanMap(kind) || !must_map)) {
      set->members_.emplace_back().kind = kind;
    }
  }
  return set;
}

FabricSet::~FabricSet() = default;

absl::StatusOr<FabricSet::LocalFabrics> FabricSet::Open() { return OpenFrom(0, 1); }

absl::StatusOr<FabricSet::LocalFabrics> FabricSet::OpenMore() {
  return OpenFrom(1, members_.size());
}

absl::StatusOr<FabricSet::LocalFabrics> FabricSet::OpenFrom(size_t begin, size_t end) {
  LocalFabrics open;
  for (size_t i = begin; i < end; ++i) {
    Member& member = members_[i];
    if (member.port == nullptr && !member.is_absent) {
      if (absl::Status status = OpenMember(&member); !status.ok()) return status;
    }
    if (!member.is_absent) open.push_back({member.fabric.get(), member.port.get()});
  }
  return open;
}

absl::Status FabricSet::OpenMember(Member* member) {
  auto fabric =
      transport::OpenProvider(member->kind, {.clock = scheduler_->clock(), .device = device_});
  if (!fabric.ok()) {
    const absl::Status& why = fabric.status();
    const std::string text = absl::StrCat("fabric ", member->kind, ": ", why.message());
    const bool is_choice = is_auto_ && member->kind == "verbs" && device_.empty();
    if (!absl::IsNotFound(why) && !is_choice) return absl::Status(why.code(), text);
    if (!is_choice) return absl::FailedPreconditionError(text);
    // Most machines have no card; one that has, and cannot use it, has something to mend.
    LOG_IF(WARNING, !absl::IsNotFound(why)) << "goes without " << text;
    member->is_absent = true;
    return absl::OkStatus();
  }
  auto completion_queue = (*fabric)->CreateCompletionQueue();
  if (!completion_queue.ok()) return completion_queue.status();
  member->fabric = *std::move(fabric);
  member->completion_queue = *std::move(completion_queue);
  member->port = std::make_unique<transport::Port>(scheduler_, member->completion_queue.get());
  return absl::OkStatus();
}

uint32_t FabricSet::TakeRegionIds(uint32_t count) {
  const uint32_t first = next_region_id_;
  next_region_id_ += count;
  return first;
}

size_t FabricSet::opened_count() const {
  return static_cast<size_t>(
      std::count_if(members_.begin(), members_.end(),
                    [](const Member& member) { return member.port != nullptr; }));
}

}  // namespace acre

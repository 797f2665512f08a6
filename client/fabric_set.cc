#include "client/fabric_set.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "transport/shm/shm_fabric.h"
#include "transport/tcp/tcp_fabric.h"

namespace acre {
namespace {

using FabricOr = absl::StatusOr<std::unique_ptr<transport::Fabric>>;

FabricOr MakeShm(Clock* clock) {
  transport::ShmFabric::Options options;
  options.clock = clock;
  return transport::ShmFabric::Create(options);
}

FabricOr MakeTcp(Clock* clock) {
  transport::TcpFabric::Options options;
  options.clock = clock;
  return transport::TcpFabric::Create(options);
}

}  // namespace

struct FabricSet::Kind {
  absl::string_view name;
  bool can_map;
  FabricOr (*make)(Clock* clock);  // Null: not in this build.
};

// The best first.
absl::Span<const FabricSet::Kind> FabricSet::Kinds() {
  static constexpr Kind kKinds[] = {
      {"shm", /*can_map=*/true, MakeShm},
      {"verbs", /*can_map=*/false, nullptr},
      {"tcp", /*can_map=*/false, MakeTcp},
  };
  return kKinds;
}

absl::StatusOr<std::unique_ptr<FabricSet>> FabricSet::Create(Scheduler* scheduler,
                                                             absl::string_view name,
                                                             bool must_map) {
  auto set = absl::WrapUnique(new FabricSet(scheduler));
  std::string names = "auto";
  bool is_known = name == "auto";
  for (const Kind& kind : Kinds()) {
    is_known = is_known || kind.name == name;
    if (kind.make == nullptr) continue;
    absl::StrAppend(&names, ", ", kind.name);
    if (name != "auto" && name != kind.name) continue;
    if (kind.can_map || !must_map) {
      set->members_.emplace_back().kind = &kind;
    } else if (name == kind.name) {
      return absl::InvalidArgumentError(absl::StrCat(
          "path mapped reads the server's memory in place, which fabric ", name,
          " cannot: use path auto or one_sided, or fabric shm on the server's machine"));
    }
  }
  if (!is_known) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no fabric \"", name, "\": use one of ", names));
  }
  if (set->members_.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this build has no fabric ", name, ": use one of ", names));
  }
  return set;
}

FabricSet::~FabricSet() = default;

absl::StatusOr<std::vector<transport::ConnectOptions::LocalFabric>> FabricSet::Open() {
  std::vector<transport::ConnectOptions::LocalFabric> open;
  absl::Status absence;
  for (Member& member : members_) {
    if (member.port == nullptr && member.absence.ok()) {
      const absl::Status status = OpenMember(&member);
      if (absl::IsNotFound(status)) {
        member.absence = absl::FailedPreconditionError(
            absl::StrCat("fabric ", member.kind->name, ": ", status.message()));
      } else if (!status.ok()) {
        return status;
      }
    }
    if (member.absence.ok()) {
      open.push_back({member.fabric.get(), member.port.get()});
    } else if (absence.ok()) {
      absence = member.absence;
    }
  }
  if (open.empty()) return absence;
  return open;
}

absl::Status FabricSet::OpenMember(Member* member) {
  FabricOr fabric = member->kind->make(scheduler_->clock());
  if (!fabric.ok()) return fabric.status();
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

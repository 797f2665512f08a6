#include "client/fabric_set.h"

#include <algorithm>
#include <atomic>
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

FabricSet::FabricSet(Scheduler* scheduler, const Options& options)
    : scheduler_(scheduler),
      device_(options.device),
      threads_per_qp_(options.threads_per_qp),
      is_auto_(options.name == kAuto) {}

absl::StatusOr<std::unique_ptr<FabricSet>> FabricSet::Create(Scheduler* scheduler,
                                                             Options options) {
  const std::string& name = options.name;
  if (name != kAuto) {
    if (const absl::Status judged = transport::JudgeProvider(name); !judged.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(judged.message(), "; ", kAuto, " is the best of them"));
    }
    const absl::Status device_judged = transport::JudgeDevice(options.device, {name});
    if (!device_judged.ok()) return device_judged;
    if (options.must_map && !CanMap(name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "path mapped reads the server's memory in place, which fabric ", name,
          " cannot: use path auto or one_sided, or fabric shm on the server's machine"));
    }
  }
  if (options.threads_per_qp < 1 || options.threads_per_qp > transport::kThreadsPerQpMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "threads_per_qp is 1 to ", transport::kThreadsPerQpMax, ", not ", options.threads_per_qp));
  }
  auto set = absl::WrapUnique(new FabricSet(scheduler, options));
  for (const absl::string_view kind : transport::ProviderNames()) {
    if ((name == kAuto || name == kind) && (CanMap(kind) || !options.must_map)) {
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

absl::StatusOr<std::shared_ptr<transport::Fabric>> FabricSet::OpenFabric(
    absl::string_view kind) const {
  transport::ProviderOptions options;
  options.clock = scheduler_->clock();
  options.device = device_;
  options.threads_per_qp = threads_per_qp_;
  if (kind == "verbs" && threads_per_qp_ > 1) return transport::OpenSharedProvider(kind, options);
  return transport::OpenProvider(kind, options);
}

absl::Status FabricSet::OpenMember(Member* member) {
  auto fabric = OpenFabric(member->kind);
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
  // Of the whole process, as clients may share a fabric. Only this counts them: no order is needed.
  static std::atomic<uint32_t> next{1};
  return next.fetch_add(count, std::memory_order_relaxed);
}

size_t FabricSet::opened_count() const {
  return static_cast<size_t>(
      std::count_if(members_.begin(), members_.end(),
                    [](const Member& member) { return member.port != nullptr; }));
}

}  // namespace acre

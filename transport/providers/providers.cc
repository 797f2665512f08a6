#include "transport/providers/providers.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "runtime/mutex.h"
#include "transport/shm/shm_fabric.h"
#include "transport/tcp/tcp_fabric.h"
#include "transport/verbs/verbs_fabric.h"
#include "transport/verbs/verbs_wire.h"

namespace acre::transport {
namespace {

using Opened = absl::StatusOr<std::unique_ptr<Fabric>>;

static_assert(kThreadsPerQpMax == kLanesMax);

constexpr absl::string_view kNames[] = {"shm", "verbs", "tcp"};

Opened OpenShm(const ProviderOptions& given) {
  ShmFabric::Options options;
  options.clock = given.clock;
  options.generation = given.generation;
  options.death_marks = given.death_marks;
  return ShmFabric::Create(options);
}

Opened OpenVerbs(const ProviderOptions& given) {
  VerbsFabric::Options options;
  options.clock = given.clock;
  options.generation = given.generation;
  options.threads_per_qp = given.threads_per_qp;
  // A card's name has letters and no dots or colons; an address is the other way round.
  const bool is_address = given.device.find_first_of(".:") != std::string::npos;
  (is_address ? options.address : options.device) = given.device;
  if (given.device.empty()) {
    for (std::string& address : VerbsFabric::Addresses()) {
      if (address == given.listen_host) options.address = std::move(address);
    }
  }
  return VerbsFabric::Create(options);
}

Opened OpenTcp(const ProviderOptions& given) {
  TcpFabric::Options options;
  options.clock = given.clock;
  options.generation = given.generation;
  if (!given.listen_host.empty()) options.listen_host = given.listen_host;
  return TcpFabric::Create(options);
}

}  // namespace

absl::Span<const absl::string_view> ProviderNames() { return kNames; }

absl::Status JudgeProvider(absl::string_view name) {
  if (std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no fabric \"", name, "\", only ", absl::StrJoin(kNames, ", ")));
}

absl::Status JudgeDevice(absl::string_view device, absl::Span<const std::string> fabrics) {
  if (device.empty() || std::find(fabrics.begin(), fabrics.end(), "verbs") != fabrics.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "device \"", device, "\" is an RDMA card's, and fabric ", absl::StrJoin(fabrics, ","),
      " uses none: choose fabric verbs (--fabric), or give no device (--device)"));
}

absl::StatusOr<std::shared_ptr<Fabric>> OpenSharedProvider(absl::string_view name,
                                                           ProviderOptions options) {
  // With the clock that it needs: the fabric goes first.
  struct Shared {
    RealClock clock;
    std::unique_ptr<Fabric> fabric;
  };
  struct Table {
    Mutex mutex;
    std::map<std::string, std::weak_ptr<Shared>> by_name ABSL_GUARDED_BY(mutex);
  };
  // What is shared is the process's: any client thread may be the first, or the last.
  static Table& table = *new Table();
  const std::string key = absl::StrCat(name, " ", options.device, " ", options.threads_per_qp);
  MutexLock lock(&table.mutex);
  std::shared_ptr<Shared> shared = table.by_name[key].lock();
  if (shared == nullptr) {
    shared = std::make_shared<Shared>();
    options.clock = &shared->clock;
    Opened opened = OpenProvider(name, options);
    if (!opened.ok()) return opened.status();
    shared->fabric = *std::move(opened);
    table.by_name[key] = shared;
  }
  Fabric* const fabric = shared->fabric.get();
  return std::shared_ptr<Fabric>(std::move(shared), fabric);
}

Opened OpenProvider(absl::string_view name, const ProviderOptions& options) {
  CHECK(options.clock != nullptr);
  if (absl::Status status = JudgeProvider(name); !status.ok()) return status;
  if (name == "shm") return OpenShm(options);
  if (name == "verbs") return OpenVerbs(options);
  return OpenTcp(options);
}

}  // namespace acre::transport

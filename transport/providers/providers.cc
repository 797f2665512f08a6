#include "transport/providers/providers.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "transport/shm/shm_fabric.h"
#include "transport/tcp/tcp_fabric.h"
#include "transport/verbs/verbs_fabric.h"

namespace acre::transport {
namespace {

using Opened = absl::StatusOr<std::unique_ptr<Fabric>>;

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

Opened OpenProvider(absl::string_view name, const ProviderOptions& options) {
  CHECK(options.clock != nullptr);
  if (absl::Status status = JudgeProvider(name); !status.ok()) return status;
  if (name == "shm") return OpenShm(options);
  if (name == "verbs") return OpenVerbs(options);
  return OpenTcp(options);
}

}  // namespace acre::transport

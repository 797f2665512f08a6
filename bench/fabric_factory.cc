#include "bench/fabric_factory.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/shm/shm_fabric.h"

namespace acre::bench {
namespace {

using Opened = absl::StatusOr<std::unique_ptr<transport::Fabric>>;

struct Provider {
  absl::string_view name;
  Opened (*open)(Clock* clock);
};

Opened OpenShm(Clock* clock) {
  auto fabric = transport::ShmFabric::Create({.clock = clock});
  if (!fabric.ok()) return fabric.status();
  return *std::move(fabric);
}

constexpr Provider kProviders[] = {{"shm", OpenShm}};

const Provider* Find(absl::string_view name) {
  for (const Provider& provider : kProviders) {
    if (provider.name == name) return &provider;
  }
  return nullptr;
}

}  // namespace

absl::Status JudgeFabric(absl::string_view name) {
  if (Find(name) != nullptr) return absl::OkStatus();
  std::string names;
  for (const Provider& provider : kProviders) absl::StrAppend(&names, " ", provider.name);
  return absl::InvalidArgumentError(absl::StrCat("--fabric: \"", name, "\" is not one of:", names));
}

Opened OpenFabric(absl::string_view name, Clock* clock) {
  if (absl::Status status = JudgeFabric(name); !status.ok()) return status;
  return Find(name)->open(clock);
}

}  // namespace acre::bench

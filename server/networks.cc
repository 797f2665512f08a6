#include "server/networks.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace acre::server {
namespace {

std::string ProviderOf(const transport::Fabric& fabric) { return fabric.device().provider; }

}  // namespace

absl::Status Networks::Judge(const std::vector<std::string>& names, absl::string_view device) {
  if (names.size() == 1 && names[0] == kAutoFabrics) return absl::OkStatus();
  const std::string flag = absl::StrCat("--fabric=", absl::StrJoin(names, ","), ": ");
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (const absl::Status status = transport::JudgeProvider(*name); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, status.message(), "; give a comma list of these, or ", kAutoFabrics));
    }
    if (std::find(names.begin(), name, *name) != name) {
      return absl::InvalidArgumentError(absl::StrCat(flag, "it names ", *name, " twice"));
    }
  }
  if (!names.empty()) return transport::JudgeDevice(device, names);
  return absl::InvalidArgumentError(absl::StrCat(flag, "it names no fabric"));
}

absl::StatusOr<Networks> Networks::Open(const std::vector<std::string>& names,
                                        const transport::ProviderOptions& options, bool is_loopback,
                                        const std::function<void(absl::string_view)>& say) {
  Networks networks;
  networks.say_ = say;
  const bool is_auto = names.size() == 1 && names[0] == kAutoFabrics;
  std::vector<std::string> wanted = names;
  if (is_auto) {
    wanted.clear();
    for (const absl::string_view name : transport::ProviderNames()) wanted.emplace_back(name);
  }
  for (const std::string& name : wanted) {
    const bool is_optional = is_auto && name == "verbs";
    if (is_optional && is_loopback && options.device.empty()) continue;
    absl::StatusOr<std::unique_ptr<transport::Fabric>> fabric =
        transport::OpenProvider(name, options);
    if (is_optional && !fabric.ok()) {
      if (!absl::IsNotFound(fabric.status()) || !options.device.empty()) {
        say(absl::StrCat("goes without fabric verbs: ", fabric.status().message()));
      }
      continue;
    }
    if (!fabric.ok()) {
      const bool is_missing =
          absl::IsNotFound(fabric.status()) || absl::IsFailedPrecondition(fabric.status());
      return absl::Status(
          fabric.status().code(),
          absl::StrCat("fabric ", name, ": ", fabric.status().message(),
                       is_missing ? "; kv_doctor tells what this machine lacks for it" : ""));
    }
    const transport::DeviceAttributes& device = (*fabric)->device();
    if (!device.note.empty()) {
      say(absl::StrCat("fabric ", name, " on ", device.device, ": ", device.note));
    }
    OpenFabric open;
    open.fabric = *std::move(fabric);
    open.is_optional = is_optional;
    networks.open_.push_back(std::move(open));
  }
  const auto maker =
      std::find_if(networks.open_.begin(), networks.open_.end(),
                   [](const OpenFabric& open) { return ProviderOf(*open.fabric) == "shm"; });
  if (maker != networks.open_.end()) {
    networks.maker_ = static_cast<size_t>(std::distance(networks.open_.begin(), maker));
  }
  return networks;
}

absl::Status Networks::OpenDoors(
    absl::Span<const std::unique_ptr<transport::MemoryRegion>> regions) {
  for (const auto& region : regions) regions_.push_back(region.get());
  const transport::Fabric* const made_them = maker();
  for (auto open = open_.begin(); open != open_.end();) {
    const absl::Status status =
        open->fabric.get() == made_them ? absl::OkStatus() : OpenDoorsOf(&*open, regions);
    if (!status.ok() && !GoesWithout(*open, status)) return status;
    open = status.ok() ? open + 1 : open_.erase(open);
  }
  for (maker_ = 0; open_[maker_].fabric.get() != made_them;) ++maker_;
  return absl::OkStatus();
}

absl::Status Networks::OpenDoorsOf(
    OpenFabric* open, absl::Span<const std::unique_ptr<transport::MemoryRegion>> regions) {
  for (const auto& region : regions) {
    auto door = open->fabric->RegisterRegion(region.get(), transport::kRightRead);
    if (!door.ok()) {
      return absl::Status(door.status().code(), absl::StrCat("fabric ", ProviderOf(*open->fabric),
                                                             ": ", door.status().message()));
    }
    open->doors.push_back(*std::move(door));
  }
  return absl::OkStatus();
}

bool Networks::GoesWithout(const OpenFabric& open, const absl::Status& why) const {
  if (open.is_optional) say_(absl::StrCat("goes without ", why.message()));
  return open.is_optional;
}

std::vector<ServedFabric> Networks::served() const {
  std::vector<ServedFabric> served;
  for (const OpenFabric& open : open_) {
    ServedFabric fabric;
    fabric.fabric = open.fabric.get();
    if (open.fabric.get() == maker()) {
      fabric.regions = regions_;
      fabric.made_them = true;
    } else {
      for (const auto& door : open.doors) fabric.regions.push_back(door.get());
    }
    served.push_back(std::move(fabric));
  }
  return served;
}

std::string Networks::Names() const {
  return absl::StrJoin(open_, " and ", [](std::string* text, const OpenFabric& open) {
    absl::StrAppend(text, ProviderOf(*open.fabric));
  });
}

absl::StatusOr<std::vector<transport::BootstrapServer::OfferedFabric>> Networks::Listen() {
  std::vector<transport::BootstrapServer::OfferedFabric> offered;
  for (OpenFabric& open : open_) {
    absl::StatusOr<std::unique_ptr<transport::Listener>> listener = open.fabric->Listen();
    if (!listener.ok()) {
      const absl::Status why(
          listener.status().code(),
          absl::StrCat("fabric ", ProviderOf(*open.fabric), ": ", listener.status().message()));
      if (!GoesWithout(open, why)) return why;
      continue;
    }
    open.listener = *std::move(listener);
    offered.push_back({ProviderOf(*open.fabric), open.listener.get()});
  }
  return offered;
}

void Networks::StopListening() {
  for (OpenFabric& open : open_) open.listener.reset();
}

void Networks::CloseDoors() {
  for (OpenFabric& open : open_) open.doors.clear();
  regions_.clear();
}

}  // namespace acre::server

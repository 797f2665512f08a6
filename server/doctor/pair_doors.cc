#include "server/doctor/pair_doors.h"

#include <utility>

#include "absl/memory/memory.h"
#include "server/machine.h"

namespace acre::doctor {

absl::StatusOr<std::unique_ptr<PairDoors>> PairDoors::Open(
    Scheduler* scheduler, const std::vector<std::string>& fabrics,
    const transport::ProviderOptions& options, bool is_loopback,
    const std::function<void(absl::string_view)>& say) {
  absl::StatusOr<std::string> boot_id = server::ReadBootId();
  if (!boot_id.ok()) return boot_id.status();
  absl::StatusOr<server::Networks> networks =
      server::Networks::Open(fabrics, options, is_loopback, say);
  if (!networks.ok()) return networks.status();
  auto doors = absl::WrapUnique(new PairDoors(scheduler, *std::move(networks)));
  doors->introduction_.boot_id = *std::move(boot_id);
  for (const server::ServedFabric& served : doors->networks_.served()) {
    Door door;
    door.name = served.fabric->device().provider;
    door.fabric = served.fabric;
    auto completion_queue = served.fabric->CreateCompletionQueue();
    if (!completion_queue.ok()) return completion_queue.status();
    door.completion_queue = *std::move(completion_queue);
    door.port = std::make_unique<transport::Port>(scheduler, door.completion_queue.get());
    doors->introduction_.fabrics.push_back(door.name);
    doors->doors_.push_back(std::move(door));
  }
  return doors;
}

PairDoors::~PairDoors() {
  // Each port before its queue, all queues before their fabrics.
  for (Door& door : doors_) {
    door.port.reset();
    door.completion_queue.reset();
  }
}

PairDoors::Door* PairDoors::Find(absl::string_view name) {
  for (Door& door : doors_) {
    if (door.name == name) return &door;
  }
  return nullptr;
}

PairLinkContext PairDoors::ContextOf(const Door& door) {
  PairLinkContext context;
  context.scheduler = scheduler_;
  context.fabric = door.fabric;
  context.port = door.port.get();
  context.introduction = introduction_;
  context.next_region_id = [this] { return NextRegionId(); };
  return context;
}

transport::ChannelOptions PairDoors::ChannelOptionsOf() {
  transport::ChannelOptions options;
  options.region_id = NextRegionId();
  options.random_seed = scheduler_->random().Next();
  return options;
}

}  // namespace acre::doctor

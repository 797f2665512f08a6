#include "tests/sim/script.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace acre::simulation {
namespace {

constexpr uint64_t kTroublesMax = 5;
constexpr uint64_t kDownNsMax = 8 * kMs;
constexpr uint64_t kPauseNsMax = 30 * kMs;
constexpr uint64_t kPartitionNsMax = 30 * kMs;

enum class Trouble : uint8_t {
  kKillServer,
  kStopServer,
  kPauseServer,
  kKillClient,
  kPauseClient,
  kCrashServersMachine,
  kCrashClientsMachine,
  kPartition,
  kOneWay,
  kSlowMachine,
  kSlowCard,
  kDrift,
};
constexpr uint64_t kTroubles = 12;

// Short as a rule, at times as long as may be.
uint64_t DrawNs(Random* random, uint64_t ns_max) {
  const uint64_t bound = random->Uniform(3) == 0 ? ns_max : ns_max / 16;
  return 1 + random->Uniform(bound);
}

class Troublemaker {
 public:
  explicit Troublemaker(Cluster* cluster) : cluster_(cluster), random_(&cluster->random()) {}

  // Returns when it is over.
  uint64_t Schedule(Trouble trouble, uint64_t at_ns) {
    const size_t slot = random_->Uniform(cluster_->plan().clients.size());
    const int machine = cluster_->plan().clients[slot].machine;
    switch (trouble) {
      case Trouble::kKillServer:
      case Trouble::kStopServer:
      case Trouble::kKillClient:
      case Trouble::kCrashServersMachine:
      case Trouble::kCrashClientsMachine:
        return ScheduleDeath(trouble, at_ns, slot, machine);
      case Trouble::kPauseServer:
        return ScheduleServersPause(at_ns);
      case Trouble::kPauseClient:
        return ScheduleClientsPause(at_ns, slot);
      case Trouble::kPartition:
      case Trouble::kOneWay:
        return SchedulePartition(trouble == Trouble::kOneWay, at_ns, machine);
      case Trouble::kSlowMachine:
      case Trouble::kSlowCard:
      case Trouble::kDrift:
        return ScheduleSlowness(trouble, at_ns, random_->Uniform(2) == 0 ? 0 : machine);
    }
    return at_ns;
  }

 private:
  void At(uint64_t at_ns, std::string what, std::function<void()> action) {
    Cluster* const cluster = cluster_;
    sim::World* const world = cluster->world();
    world->After(at_ns - world->NowNs(),
                 [world, what = std::move(what), action = std::move(action)] {
                   world->Note(absl::StrCat("scenario: ", what));
                   action();
                 });
  }

  uint64_t ScheduleDeath(Trouble trouble, uint64_t at_ns, size_t slot, int machine) {
    const uint64_t down_ns = DrawNs(random_, kDownNsMax);
    Cluster* const cluster = cluster_;
    switch (trouble) {
      case Trouble::kStopServer:
        At(at_ns, "the server is to stop", [=] { cluster->StopServer(down_ns); });
        break;
      case Trouble::kKillClient:
        At(at_ns, "a client is killed", [=] { cluster->KillClient(slot, down_ns); });
        break;
      case Trouble::kCrashServersMachine:
        At(at_ns, "the server's machine crashes", [=] { cluster->CrashMachine(0, down_ns); });
        break;
      case Trouble::kCrashClientsMachine:
        At(at_ns, "a client's machine crashes", [=] { cluster->CrashMachine(machine, down_ns); });
        break;
      default:
        At(at_ns, "the server is killed", [=] { cluster->KillServer(down_ns); });
    }
    return at_ns + down_ns;
  }

  uint64_t ScheduleServersPause(uint64_t at_ns) {
    const uint64_t until_ns = at_ns + DrawNs(random_, kPauseNsMax);
    At(at_ns, "the server is paused", [cluster = cluster_, until_ns] {
      sim::Process* const process = cluster->server_process();
      if (process == nullptr) return;
      process->Pause();
      cluster->world()->After(until_ns - cluster->world()->NowNs(),
                              [process] { process->Resume(); });
    });
    return until_ns;
  }

  uint64_t ScheduleClientsPause(uint64_t at_ns, size_t slot) {
    const uint64_t until_ns = at_ns + DrawNs(random_, kPauseNsMax);
    At(at_ns, "a client is paused", [cluster = cluster_, slot, until_ns] {
      sim::Process* const process = cluster->client_process(slot);
      if (process == nullptr) return;
      process->Pause();
      cluster->world()->After(until_ns - cluster->world()->NowNs(),
                              [process] { process->Resume(); });
    });
    return until_ns;
  }

  uint64_t SchedulePartition(bool one_way, uint64_t at_ns, int machine) {
    const uint64_t until_ns = at_ns + DrawNs(random_, kPartitionNsMax);
    sim::Machine* from = cluster_->machine(machine);
    sim::Machine* to = cluster_->server_machine();
    if (random_->Uniform(2) == 0) std::swap(from, to);
    transport::SimNetwork* const network = cluster_->network();
    At(at_ns, one_way ? "a link breaks one way" : "a link breaks", [=] {
      network->SetLink(from, to, false);
      if (!one_way) network->SetLink(to, from, false);
    });
    At(until_ns, "the link is healed", [=] {
      network->SetLink(from, to, true);
      network->SetLink(to, from, true);
    });
    return until_ns;
  }

  uint64_t ScheduleSlowness(Trouble trouble, uint64_t at_ns, int index) {
    const uint64_t until_ns = at_ns + DrawNs(random_, kPauseNsMax);
    const double factor = static_cast<double>(2 + random_->Uniform(30));
    const double drift_ppm = static_cast<double>(random_->Uniform(20'000)) - 10'000;
    sim::Machine* const machine = cluster_->machine(index);
    transport::SimNetwork* const network = cluster_->network();
    const auto set = [=](double slowness, double ppm) {
      if (trouble == Trouble::kSlowMachine) machine->SetSlowness(slowness);
      if (trouble == Trouble::kSlowCard) network->SetCardSlowness(machine, slowness);
      if (trouble == Trouble::kDrift) machine->SetDrift(ppm);
    };
    At(at_ns, "a machine, card or clock is slow", [=] { set(factor, drift_ppm); });
    At(until_ns, "it is as usual again", [=] { set(1, 0); });
    return until_ns;
  }

  Cluster* const cluster_;
  Random* const random_;
};

}  // namespace

uint64_t ScheduleTroubles(Cluster* cluster) {
  Random* const random = &cluster->random();
  const uint64_t faults_end_ns = cluster->plan().faults_end_ns;
  Troublemaker troublemaker(cluster);
  uint64_t end_ns = faults_end_ns;
  for (uint64_t left = random->Uniform(kTroublesMax + 1); left > 0; --left) {
    const auto trouble = static_cast<Trouble>(random->Uniform(kTroubles));
    const uint64_t at_ns = random->Uniform(faults_end_ns);
    end_ns = std::max(end_ns, troublemaker.Schedule(trouble, at_ns));
  }
  return end_ns;
}

}  // namespace acre::simulation

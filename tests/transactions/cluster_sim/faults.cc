#include "tests/transactions/cluster_sim/faults.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/transactions/cluster_sim/home_process.h"
#include "tests/transactions/cluster_sim/scene.h"

namespace acre::cluster_sim {
namespace {

constexpr uint64_t kDownNsMax = 4 * kMs;
constexpr uint64_t kPauseNsMax = 30 * kMs;
// Longer than homes bear with a coordinator that has something open (WorkerTransactions::kLooksMax).
constexpr uint64_t kLongPauseNs = 6'000 * kMs;
constexpr uint64_t kPartitionNsMax = 30 * kMs;
constexpr uint64_t kGiveUpsMax = 40;
// A home that is not connected to another one yet needs longer than this to ask it.
constexpr uint64_t kBeforeAskedNs = 100 * kUs;

enum class Trouble : uint8_t {
  kKillCoordinator,
  kKillCoordinatorAgain,  // As likely as two others.
  kPauseCoordinator,
  kGiveUp,  // A home closes a coordinator's connections, again and again.
  kPartition,
  kPartitionOfHomes,
  kSlowness,
  kKillHome,              // These: only where homes die.
  kPartitionAndKillHome,  // A coordinator's way to one home breaks, and another home dies soon after.
  kGiveUpAndKillHome,  // One home gives all coordinators up, and another one dies before it can be asked.
};
constexpr uint64_t kTroublesWithoutHomes = 7;
constexpr uint64_t kTroubles = 10;

// Short as a rule, at times as long as may be.
uint64_t DrawNs(Random* random, uint64_t ns_max) {
  const uint64_t bound = random->Uniform(3) == 0 ? ns_max : ns_max / 16;
  return 1 + random->Uniform(bound);
}

class Troublemaker {
 public:
  explicit Troublemaker(Scene* scene) : scene_(scene), random_(&scene->random()) {}

  // Returns when it is over.
  uint64_t Schedule(Trouble trouble, uint64_t at_ns) {
    const size_t slot = random_->Uniform(scene_->plan().coordinators);
    const size_t home = random_->Uniform(scene_->plan().homes);
    const size_t other =
        (home + 1 + random_->Uniform(scene_->plan().homes - 1)) % scene_->plan().homes;
    switch (trouble) {
      case Trouble::kKillCoordinator:
      case Trouble::kKillCoordinatorAgain:
        return KillCoordinator(at_ns, slot);
      case Trouble::kPauseCoordinator:
        return Pause(at_ns, slot, home);
      case Trouble::kGiveUp:
        return GiveUp(at_ns, slot, home);
      case Trouble::kPartition:
        return Partition(at_ns, scene_->coordinator_machine(slot), scene_->home_machine(home));
      case Trouble::kPartitionOfHomes:
        return Partition(at_ns, scene_->home_machine(home), scene_->home_machine(other));
      case Trouble::kSlowness:
        return Slow(at_ns, random_->Uniform(2) == 0 ? scene_->home_machine(home)
                                                    : scene_->coordinator_machine(slot));
      case Trouble::kKillHome:
        return KillHome(at_ns);
      case Trouble::kPartitionAndKillHome: {
        const uint64_t end_ns =
            Partition(at_ns, scene_->coordinator_machine(slot), scene_->home_machine(home));
        return std::max(end_ns, KillHome(at_ns + random_->Uniform(2 * kMs)));
      }
      case Trouble::kGiveUpAndKillHome:
        for (size_t each = 0; each < scene_->plan().coordinators; ++each) {
          GiveUpAt(at_ns, each, other == scene_->plan().mortal_home ? home : other);
        }
        return KillHome(at_ns + random_->Uniform(kBeforeAskedNs));
    }
    return at_ns;
  }

 private:
  void At(uint64_t at_ns, std::string what, std::function<void()> action) {
    sim::World* const world = scene_->world();
    world->After(at_ns - world->NowNs(),
                 [world, what = std::move(what), action = std::move(action)] {
                   world->Note(absl::StrCat("scene: ", what));
                   action();
                 });
  }

  uint64_t KillCoordinator(uint64_t at_ns, size_t slot) {
    const uint64_t down_ns = DrawNs(random_, kDownNsMax);
    At(at_ns, "a coordinator is killed",
       [=, scene = scene_] { scene->KillCoordinator(slot, down_ns); });
    return at_ns + down_ns;
  }

  uint64_t KillHome(uint64_t at_ns) {
    const size_t home = scene_->plan().mortal_home;
    const uint64_t down_ns = DrawNs(random_, kDownNsMax);
    At(at_ns, "a home is killed", [=, scene = scene_] { scene->KillHome(home, down_ns); });
    return at_ns + down_ns;
  }

  // A zombie: meanwhile a home may give it up, at once or after its 5 s.
  uint64_t Pause(uint64_t at_ns, size_t slot, size_t home) {
    const bool is_long = random_->Uniform(12) == 0;
    const uint64_t until_ns = at_ns + (is_long ? kLongPauseNs : DrawNs(random_, kPauseNsMax));
    const bool is_given_up = random_->Uniform(2) == 0;
    const uint64_t give_up_ns = at_ns + random_->Uniform(until_ns - at_ns);
    At(at_ns, "a coordinator is paused", [=, scene = scene_] {
      sim::Process* const process = scene->coordinator(slot);
      if (process == nullptr) return;
      scene->CountEvent(is_long ? "long pauses" : "pauses");
      process->Pause();
      scene->world()->After(until_ns - scene->world()->NowNs(), [process] { process->Resume(); });
    });
    if (is_given_up) GiveUpAt(give_up_ns, slot, home);
    return until_ns;
  }

  uint64_t GiveUp(uint64_t at_ns, size_t slot, size_t home) {
    uint64_t until_ns = at_ns;
    for (uint64_t left = 1 + random_->Uniform(kGiveUpsMax); left > 0; --left) {
      GiveUpAt(until_ns, slot, home);
      until_ns += 1 + random_->Uniform(kMs);
    }
    return until_ns;
  }
  void GiveUpAt(uint64_t at_ns, size_t slot, size_t home) {
    At(at_ns, "a home gives a coordinator up", [=, scene = scene_] {
      if (scene->home(home) == nullptr || scene->coordinator(slot) == nullptr) return;
      scene->CountEvent("coordinators given up");
      scene->home(home)->GiveUp(scene->coordinator(slot)->id());
    });
  }

  uint64_t Partition(uint64_t at_ns, sim::Machine* from, sim::Machine* to) {
    const uint64_t until_ns = at_ns + DrawNs(random_, kPartitionNsMax);
    const bool one_way = random_->Uniform(3) == 0;
    if (random_->Uniform(2) == 0) std::swap(from, to);
    if (from == to) return at_ns;
    transport::SimNetwork* const network = scene_->network();
    At(at_ns, "a link breaks", [=] {
      network->SetLink(from, to, false);
      if (!one_way) network->SetLink(to, from, false);
    });
    At(until_ns, "the link is healed", [=] {
      network->SetLink(from, to, true);
      network->SetLink(to, from, true);
    });
    return until_ns;
  }

  uint64_t Slow(uint64_t at_ns, sim::Machine* machine) {
    const uint64_t until_ns = at_ns + DrawNs(random_, kPauseNsMax);
    const double factor = static_cast<double>(2 + random_->Uniform(30));
    const bool is_card = random_->Uniform(2) == 0;
    transport::SimNetwork* const network = scene_->network();
    const auto set = [=](double slowness) {
      if (is_card) {
        network->SetCardSlowness(machine, slowness);
      } else {
        machine->SetSlowness(slowness);
      }
    };
    At(at_ns, "a machine or card is slow", [=] { set(factor); });
    At(until_ns, "it is as usual again", [=] { set(1); });
    return until_ns;
  }

  Scene* const scene_;
  Random* const random_;
};

}  // namespace

uint64_t ScheduleFaults(Scene* scene) {
  Random* const random = &scene->random();
  const uint64_t faults_end_ns = scene->plan().faults_end_ns;
  Troublemaker troublemaker(scene);
  uint64_t end_ns = faults_end_ns;
  const uint64_t kinds = scene->plan().homes_die ? kTroubles : kTroublesWithoutHomes;
  for (uint64_t left = scene->plan().troubles; left > 0; --left) {
    auto trouble = static_cast<Trouble>(random->Uniform(kinds));
    // What only two failures at a time show, and closely timed.
    if (scene->plan().homes_die && random->Uniform(2) == 0) trouble = Trouble::kGiveUpAndKillHome;
    end_ns = std::max(end_ns, troublemaker.Schedule(trouble, random->Uniform(faults_end_ns)));
  }
  return end_ns;
}

}  // namespace acre::cluster_sim

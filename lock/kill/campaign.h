// Rounds: in each of them children die, or stand still and count as dead; those who live must get on; others take the
// places of the dead.
//
// Threads: one, the caller's, which is the home's.

#ifndef ACRE_LOCK_KILL_CAMPAIGN_H_
#define ACRE_LOCK_KILL_CAMPAIGN_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lock/kill/home.h"
#include "runtime/random.h"

namespace acre::lock_kill {

// How children go in a round.
enum class Blow : uint8_t {
  kHolder,           // While it is inside and others wait behind it.
  kHolderAndWaiter,  // That, and one of those who wait.
  kAnyTime,          // One, whatever it does.
  kTwo,              // Two at once.
  kItself,           // By its own hand, at a step of its turn.
  kFrozen,           // Stopped while it is inside and others wait; counts as dead.
  kSilent,           // Stopped and not known to be, when another one is killed: it does not answer.
};
constexpr uint32_t kBlows = 7;
const char* BlowName(Blow blow);

struct CampaignOptions {
  HomeOptions home;
  uint32_t remotes = 3;
  uint32_t locals = 2;
  int rounds = 10;
  std::vector<Blow> blows;  // Drawn from these.
  bool thaws = false;       // Those who were frozen go on after the repair, if they live.
};

// From the kill of a holder, with others waiting behind it.
struct Handover {
  bool is_local = false;      // Who was killed.
  uint64_t to_end_ns = 0;     // Till the home knows that it is dead,
  uint64_t to_fence_ns = 0;   // has fenced it,
  uint64_t to_repair_ns = 0;  // has repaired what it guarded,
  uint64_t to_entry_ns = 0;   // and the next one is inside.
};

struct CampaignResult {
  std::string finding;  // "": nothing was found.
  std::map<Blow, int> blows;
  uint64_t fenced = 0;
  uint64_t unanswered = 0;
  uint64_t repaired = 0;
  uint64_t numbers = 0;             // That were confirmed.
  int noticed = 0;                  // Those who went on and found that they are given up.
  std::vector<Handover> handovers;  // By to_entry_ns.
};

CampaignResult RunCampaign(const CampaignOptions& options);

}  // namespace acre::lock_kill

#endif  // ACRE_LOCK_KILL_CAMPAIGN_H_

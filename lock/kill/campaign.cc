#include "lock/kill/campaign.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::lock_kill {
namespace {

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kS = 1'000'000'000;
constexpr uint64_t kLookNs = 100 * kUs;
constexpr uint64_t kAnyTimeNsMax = 3'000 * kUs;
// That everything takes at most: only what hangs takes longer.
constexpr uint64_t kPatienceNs = 20 * kS;

// Mappings of a process whose name has this in it.
int MappingsOf(const std::string& process, const std::string& name) {
  std::ifstream maps(absl::StrCat("/proc/", process, "/maps"));
  int count = 0;
  for (std::string line; std::getline(maps, line);) count += absl::StrContains(line, name) ? 1 : 0;
  return count;
}

// Of one that has ended meanwhile: 0.
int DescriptorsCount(const std::string& process) {
  std::error_code error;
  int count = 0;
  std::filesystem::directory_iterator entry(absl::StrCat("/proc/", process, "/fd"), error);
  for (; !error && entry != end(entry); entry.increment(error)) ++count;
  return error ? 0 : count;
}

class Campaign {
 public:
  explicit Campaign(const CampaignOptions& options)
      : options_(options), random_(options.home.seed), home_(options.home) {}

  CampaignResult Run() {
    home_.scheduler().RunUntilDone(RunAll());
    result_.finding = home_.finding();
    result_.fenced = home_.fenced_count();
    result_.unanswered = home_.unanswered_count();
    result_.repaired = home_.repaired_count();
    for (const BoardLock& lock : home_.board()->locks) {
      result_.numbers += lock.confirmed.Load(std::memory_order_relaxed);
    }
    std::sort(result_.handovers.begin(), result_.handovers.end(),
              [](const Handover& a, const Handover& b) { return a.to_entry_ns < b.to_entry_ns; });
    return std::move(result_);
  }

 private:
  // What a round sees of those who live, before and after.
  struct Marks {
    std::map<uint32_t, uint64_t> progress;  // By process id.
    std::array<uint64_t, kLocks> numbers{};
  };

  uint32_t places() const { return options_.remotes + options_.locals; }
  bool IsLocal(uint32_t place) const { return place >= options_.remotes; }
  bool HasFinding() const { return !home_.finding().empty(); }

  // Until that is so. If it never is, `what` is a finding. Awaited by name: g++ 12 destroys temporaries of an
  // awaited call twice.
  Task<void> Until(std::function<bool()> is_so, std::string what) {
    const uint64_t deadline_ns = home_.scheduler().NowNs() + kPatienceNs;
    while (!is_so() && !HasFinding()) {
      if (home_.scheduler().NowNs() > deadline_ns) {
        home_.Find(absl::StrCat("hangs: ", what, "; ", Where()));
        co_return;
      }
      co_await home_.scheduler().SleepFor(kLookNs);
    }
  }
  std::string Where() const {
    std::string text;
    for (uint32_t i = 0; i < kLocks; ++i) {
      const LockWords& lock = home_.lock(i);
      absl::StrAppend(&text, "lock ", i, ": local ",
                      absl::Hex(lock.local_tail.Load(std::memory_order_acquire)), " remote ",
                      absl::Hex(lock.remote_tail.Load(std::memory_order_acquire)), " inside ",
                      home_.guarded(i)[kInsideWord].Load(std::memory_order_acquire), " victim ",
                      lock.victim.Load(std::memory_order_acquire), "; ");
    }
    for (const auto& [id, member] : home_.members()) {
      absl::StrAppend(&text, "process ", id, member->is_local ? " local" : " remote",
                      member->ended.is_set() ? " dead" : "", member->is_fenced ? " fenced" : "",
                      ", ");
    }
    for (uint32_t index = 1; index < kArenaDescriptors; ++index) {
      const LocalDescriptor& descriptor = *home_.arena()->Find(LocalWord(index, 0));
      if (descriptor.owner.Load(std::memory_order_acquire) == 0) continue;
      absl::StrAppend(&text, "\n  local descriptor ", index, ":");
      for (const SharedWord* word : {&descriptor.owner, &descriptor.word, &descriptor.lock,
                                     &descriptor.pred, &descriptor.grant}) {
        absl::StrAppend(&text, " ", absl::Hex(word->Load(std::memory_order_acquire)));
      }
    }
    return absl::StrCat(text, "\n  ", home_.RepairText());
  }

  Task<void> RunAll() {
    co_await Fill();
    co_await AwaitProgress(Mark());
    const int descriptors_before = DescriptorsCount("self");
    for (int round = 0; round < options_.rounds && !HasFinding(); ++round) {
      co_await Round();
      if (HasFinding()) LOG(ERROR) << "round " << round << ": " << home_.finding();
    }
    if (HasFinding()) co_return;
    if (DescriptorsCount("self") > descriptors_before) {
      home_.Find(absl::StrCat("open descriptors: ", descriptors_before, " at first, ",
                              DescriptorsCount("self"), " at the end"));
    }
    co_await End();
  }

  // Somebody new in every place where nobody lives.
  Task<void> Fill() {
    for (uint32_t place = 0; place < places(); ++place) {
      if (home_.At(place) == nullptr) co_await home_.Start(place, IsLocal(place));
    }
  }

  // ---- One round.

  Task<void> Round() {
    const Blow blow = options_.blows[random_.Uniform(options_.blows.size())];
    ++result_.blows[blow];
    switch (blow) {
      case Blow::kHolder:
      case Blow::kHolderAndWaiter:
        co_await KillHolder(blow == Blow::kHolderAndWaiter);
        break;
      case Blow::kAnyTime:
      case Blow::kTwo:
        co_await KillAtAnyTime(blow == Blow::kTwo ? 2 : 1);
        break;
      case Blow::kItself:
        co_await KillItself();
        break;
      case Blow::kFrozen:
        co_await Freeze();
        break;
      case Blow::kSilent:
        co_await KillBesideSilentOne();
        break;
    }
    co_await AwaitRepair();
    co_await AwaitProgress(Mark());
    co_await Thaw();
    co_await Forget();
    co_await Fill();
    co_await AwaitProgress(Mark());
    co_await AwaitEqualDescriptors();
  }

  Task<void> AwaitRepair() {
    return Until(
        [this] {
          const bool all_are_fenced =
              std::all_of(home_.members().begin(), home_.members().end(), [](const auto& entry) {
                return !entry.second->ended.is_set() || entry.second->is_fenced;
              });
          return all_are_fenced && home_.is_quiet();
        },
        "repair");
  }

  Member* AnyOf(bool may_be_local) {
    while (true) {
      Member* const member = home_.At(static_cast<uint32_t>(random_.Uniform(places())));
      if (member != nullptr && (may_be_local || !member->is_local)) return member;
    }
  }

  // Somebody stands behind `holder` in a queue of the lock that it holds, and somebody else wants it.
  bool IsAwaited(const Member& holder, uint32_t lock, uint32_t* waiter_place) {
    const LockWords& words = home_.lock(lock);
    const uint64_t held = home_.place(holder.place).holding_word.Load(std::memory_order_relaxed);
    const auto has_waiters = [held](const SharedWord& tail) {
      const uint64_t last = tail.Load(std::memory_order_acquire);
      return last != 0 && last != held;
    };
    const bool has_remote = has_waiters(words.remote_tail);
    const bool has_local = has_waiters(words.local_tail);
    for (uint32_t place = 0; place < places(); ++place) {
      if (place == holder.place || !(IsLocal(place) ? has_local : has_remote)) continue;
      for (const SharedWord& waiting : home_.place(place).waiting) {
        if (waiting.Load(std::memory_order_acquire) != lock + 1) continue;
        *waiter_place = place;
        return true;
      }
    }
    return false;
  }
  // Makes somebody hold a lock till others wait for it. Nobody enters it from then on.
  Task<void> MakeHolder(Member* holder, uint32_t* lock, uint32_t* waiter_place) {
    BoardPlace& place = home_.place(holder->place);
    place.order.Store(static_cast<uint64_t>(Order::kHold), std::memory_order_release);
    Task<void> wait = Until(
        [this, holder, lock, waiter_place, &place] {
          const uint64_t holding = place.holding.Load(std::memory_order_acquire);
          if (holding == 0) return false;
          *lock = static_cast<uint32_t>(holding - 1);
          return IsAwaited(*holder, *lock, waiter_place);
        },
        absl::StrCat("a queue behind process ", holder->id));
    co_await std::move(wait);
    home_.board()->locks[*lock].first_entry_ns.Store(0, std::memory_order_release);
  }
  Task<void> KillHolder(bool kills_waiter) {
    Member* const holder = AnyOf(/*may_be_local=*/true);
    uint32_t lock = 0;
    uint32_t waiter_place = 0;
    co_await MakeHolder(holder, &lock, &waiter_place);
    if (HasFinding()) co_return;
    home_.stamps() = Stamps();
    const uint32_t holder_place = holder->place;
    const uint64_t killed_ns = home_.scheduler().NowNs();
    holder->process.Signal(SIGKILL);
    if (kills_waiter) home_.At(waiter_place)->process.Signal(SIGKILL);
    const SharedWord& entered = home_.board()->locks[lock].first_entry_ns;
    Task<void> wait = Until([&entered] { return entered.Load(std::memory_order_acquire) != 0; },
                            absl::StrCat("the next one behind process ", holder->id));
    co_await std::move(wait);
    if (kills_waiter || HasFinding()) co_return;
    const Stamps& stamps = home_.stamps();
    result_.handovers.push_back(
        {.is_local = IsLocal(holder_place),
         .to_end_ns = stamps.ended_ns - killed_ns,
         .to_fence_ns = stamps.fenced_ns - killed_ns,
         .to_repair_ns = stamps.repaired_ns - killed_ns,
         .to_entry_ns = entered.Load(std::memory_order_acquire) - killed_ns});
  }

  Task<void> KillAtAnyTime(int count) {
    co_await home_.scheduler().SleepFor(random_.Uniform(kAnyTimeNsMax));
    std::vector<Member*> chosen;
    while (chosen.size() < static_cast<size_t>(count)) {
      Member* const member = AnyOf(/*may_be_local=*/true);
      if (std::find(chosen.begin(), chosen.end(), member) == chosen.end()) chosen.push_back(member);
    }
    for (const Member* member : chosen) member->process.Signal(SIGKILL);
    for (Member* member : chosen) co_await AwaitEnd(member);
  }

  Task<void> AwaitEnd(Member* member) {
    return Until([member] { return member->ended.is_set(); },
                 absl::StrCat("the end of process ", member->id));
  }

  Task<void> KillItself() {
    Member* const member = AnyOf(/*may_be_local=*/true);
    const uint64_t order = static_cast<uint64_t>(Order::kDieInside) + random_.Uniform(kDyingOrders);
    home_.place(member->place).order.Store(order, std::memory_order_release);
    return AwaitEnd(member);
  }

  Task<void> Freeze() {
    Member* const holder = AnyOf(/*may_be_local=*/false);
    uint32_t lock = 0;
    uint32_t waiter_place = 0;
    co_await MakeHolder(holder, &lock, &waiter_place);
    if (HasFinding()) co_return;
    if (options_.thaws && random_.Uniform(2) == 0) {
      // Just when it has the words ready that end its turn.
      home_.place(holder->place)
          .order.Store(static_cast<uint64_t>(Order::kStopItself), std::memory_order_release);
      Task<void> stopped =
          Until([holder] { return holder->process.HasStopped(); }, "one that is to stop");
      co_await std::move(stopped);
      if (HasFinding()) co_return;
    } else {
      holder->process.Freeze();
    }
    frozen_ = holder->id;
    // Before the fence it may have been served, and the answers be on their way.
    const BoardPlace& place = home_.place(holder->place);
    frozen_progress_max_ = place.progress.Load(std::memory_order_acquire);
    for (const SharedWord& releasing : place.releasing) {
      frozen_progress_max_ += releasing.Load(std::memory_order_acquire);
    }
    home_.GiveUp(holder);
    const SharedWord& entered = home_.board()->locks[lock].first_entry_ns;
    Task<void> wait = Until([&entered] { return entered.Load(std::memory_order_acquire) != 0; },
                            absl::StrCat("the next one behind process ", holder->id));
    co_await std::move(wait);
  }

  Task<void> KillBesideSilentOne() {
    Member* const silent = AnyOf(/*may_be_local=*/false);
    Member* holder = silent;
    while (holder == silent) holder = AnyOf(/*may_be_local=*/true);
    uint32_t lock = 0;
    uint32_t waiter_place = 0;
    co_await MakeHolder(holder, &lock, &waiter_place);
    if (HasFinding()) co_return;
    silent->process.Freeze();
    holder->process.Signal(SIGKILL);
    co_await AwaitEnd(holder);
    // The home asks it, if it was a neighbour; else it is given up when its lease is over. Local places of the dead may
    // wait for that.
    Task<void> asked = Until([this] { return home_.has_buried(); }, "questions to a silent one");
    co_await std::move(asked);
    home_.GiveUp(silent);
    Task<void> wait =
        Until([silent] { return silent->is_fenced; }, "the fence of one that was silent");
    co_await std::move(wait);
  }

  // Whoever was frozen and lives goes on, finds its lock lost, and changes nothing.
  Task<void> Thaw() {
    const auto found = home_.members().find(std::exchange(frozen_, 0));
    if (!options_.thaws || found == home_.members().end()) co_return;
    Member* const member = found->second.get();
    if (member->ended.is_set()) co_return;
    home_.place(member->place).order.Store(0, std::memory_order_release);
    member->process.Signal(SIGCONT);
    Task<void> wait = Until([member] { return member->has_noticed || member->ended.is_set(); },
                            "one that went on, and does not notice");
    co_await std::move(wait);
    if (member->has_noticed) ++result_.noticed;
    const uint64_t progress = home_.place(member->place).progress.Load(std::memory_order_acquire);
    if (progress > frozen_progress_max_) {
      home_.Find(absl::StrCat("process ", member->id,
                              " was told that numbers stand, after it was "
                              "fenced"));
    }
    co_await AwaitProgress(Mark());
    member->process.Signal(SIGKILL);
    co_await AwaitEnd(member);
  }

  // ---- Judgement.

  Marks Mark() {
    Marks marks;
    for (uint32_t place = 0; place < places(); ++place) {
      const Member* const member = home_.At(place);
      if (member == nullptr) continue;
      marks.progress[member->id] = home_.place(place).progress.Load(std::memory_order_acquire);
    }
    for (uint32_t i = 0; i < kLocks; ++i) marks.numbers[i] = Number(i);
    return marks;
  }
  uint64_t Number(uint32_t lock) { return home_.guarded(lock)[0].Load(std::memory_order_acquire); }

  // Everybody who lives confirms a number, every lock is taken.
  Task<void> AwaitProgress(Marks before) {
    Task<void> wait = Until(
        [this, before] {
          const Marks now = Mark();
          for (const auto& [id, progress] : now.progress) {
            const auto then = before.progress.find(id);
            if (then != before.progress.end() && progress == then->second) return false;
          }
          for (uint32_t i = 0; i < kLocks; ++i) {
            if (now.numbers[i] == before.numbers[i]) return false;
          }
          return true;
        },
        "those who live");
    co_await std::move(wait);
    for (uint32_t i = 0; i < kLocks; ++i) JudgeNumber(i);
  }
  void JudgeNumber(uint32_t i) {
    // In this order: each of them only grows.
    const BoardLock& lock = home_.board()->locks[i];
    const uint64_t confirmed = lock.confirmed.Load(std::memory_order_acquire);
    const uint64_t number = Number(i);
    const uint64_t announced = lock.announced.Load(std::memory_order_acquire);
    if (confirmed <= number && number <= announced) return;
    home_.Find(absl::StrCat("lock ", i, " is at ", number, ": ", confirmed, " were confirmed, ",
                            announced, " announced"));
  }
  // What was kept for the dead goes. That takes till nobody's place has theirs before it in any intent: places that
  // were left are read, too, until they are used anew.
  Task<void> Forget() {
    Task<void> wait = Until(
        [this] {
          home_.ForgetDead();
          return std::none_of(home_.members().begin(), home_.members().end(),
                              [](const auto& entry) { return entry.second->ended.is_set(); });
        },
        "to forget the dead");
    co_await std::move(wait);
    if (HasFinding() || options_.home.fabric != "shm") co_return;  // Else they are private memory.
    const int mapped = MappingsOf("self", "lock intents");
    if (mapped != RemotesCount()) {
      home_.Find(absl::StrCat(mapped, " intents are mapped, of ", RemotesCount(), " who live"));
    }
    // Each maps its own descriptors and those of the others.
    Task<void> wait_for_others = Until(
        [this] {
          return AllRemotes([this](const Member& member) {
            return MappingsOf(absl::StrCat(member.process.pid()), "lock descriptors") <=
                   RemotesCount();
          });
        },
        "memory of the dead at those who live");
    co_await std::move(wait_for_others);
  }
  int RemotesCount() const {
    int remotes = 0;
    for (const auto& [id, member] : home_.members()) remotes += member->is_local ? 0 : 1;
    return remotes;
  }
  bool AllRemotes(const std::function<bool(const Member&)>& is_so) const {
    return std::all_of(home_.members().begin(), home_.members().end(), [&is_so](const auto& entry) {
      return entry.second->is_local || is_so(*entry.second);
    });
  }
  // Whoever came first has not more open than who came last: nothing that it had with the dead.
  Task<void> AwaitEqualDescriptors() {
    return Until(
        [this] {
          int first = 0;
          return AllRemotes([&first](const Member& member) {
            const int count = DescriptorsCount(absl::StrCat(member.process.pid()));
            if (first == 0) first = count;
            return count == first;
          });
        },
        "descriptors of the dead at those who live");
  }

  // Everybody ends; nothing is left of them.
  Task<void> End() {
    home_.StopAll();
    Task<void> wait = Until(
        [this] {
          return std::all_of(home_.members().begin(), home_.members().end(),
                             [](const auto& entry) { return entry.second->ended.is_set(); });
        },
        "the end");
    co_await std::move(wait);
    home_.ForgetDead();
    if (!home_.members().empty() && !HasFinding()) home_.Find("a process cannot be forgotten");
    for (uint32_t i = 0; i < kLocks; ++i) {
      JudgeNumber(i);
      const LockWords& lock = home_.lock(i);
      if (lock.local_tail.Load(std::memory_order_acquire) != 0 ||
          lock.remote_tail.Load(std::memory_order_acquire) != 0) {
        home_.Find(absl::StrCat("a lock is not free at the end: ", Where()));
      }
      for (uint32_t word = 0; word < kRecordWords; ++word) {
        const uint64_t number = home_.guarded(i)[word].Load(std::memory_order_acquire);
        if (number != Number(i)) home_.Find("a torn record at the end");
      }
    }
    for (uint32_t index = 1; index < kArenaDescriptors; ++index) {
      const LocalDescriptor& descriptor = *home_.arena()->Find(LocalWord(index, 0));
      const uint64_t owner = descriptor.owner.Load(std::memory_order_acquire);
      if (owner != 0) home_.Find(absl::StrCat("process ", owner, " still has a descriptor"));
    }
  }

  const CampaignOptions options_;
  Random random_;
  Home home_;
  uint32_t frozen_ = 0;               // Process id.
  uint64_t frozen_progress_max_ = 0;  // What it may yet be told.
  CampaignResult result_;
};

}  // namespace

const char* BlowName(Blow blow) {
  switch (blow) {
    case Blow::kHolder:
      return "a holder";
    case Blow::kHolderAndWaiter:
      return "a holder and a waiter";
    case Blow::kAnyTime:
      return "one at any time";
    case Blow::kTwo:
      return "two at once";
    case Blow::kItself:
      return "one by its own hand";
    case Blow::kFrozen:
      return "a holder that was frozen";
    case Blow::kSilent:
      return "one beside another that is silent";
  }
  return "";
}

CampaignResult RunCampaign(const CampaignOptions& options) { return Campaign(options).Run(); }

}  // namespace acre::lock_kill

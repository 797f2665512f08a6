// Registers: a read tells whose write it saw; which write came after which is known in part only. What is known:
//   - absent comes before all writes;
//   - who read a version and then wrote did so right behind it;
//   - and, for strict serializability only, the order of versions that transactions met one after the other in
//     real time.

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "client/isolation/deduction.h"

namespace acre::isolation {
namespace {

// Versions are numbers of writes, or:
constexpr uint32_t kAbsentVersion = kNoWrite - 1;
constexpr uint32_t kNoVersion = kNoWrite;

}  // namespace

// One key.
class Deduction::RegisterVersions {
 public:
  RegisterVersions(Deduction* deduction, uint32_t key) : deduction_(*deduction), key_(key) {}

  void Deduce() {
    for (const uint32_t number : deduction_.writes_.To(key_)) {
      const Write& write = deduction_.writes_[number];
      if (write.is_last && deduction_.IsCommitted(write.transaction)) {
        version_of_.emplace(write.transaction, number);
      }
    }
    for (const Read& read : deduction_.ReadsOf(key_)) Take(read);
    for (const auto& [transaction, version] : version_of_) {
      if (!follows_.contains(transaction)) followers_[kAbsentVersion].push_back(transaction);
    }
    for (auto& [version, followers] : followers_) {
      // In one order whatever the hashes are: the same history, the same report.
      std::sort(followers.begin(), followers.end());
      AddBefore(version, followers);
    }
    OrderByRealTime();
  }

 private:
  // What a transaction met first of the key, and what it left behind or met last.
  struct Touch {
    uint64_t invoked_at = 0;
    uint64_t returned_at = kNever;
    uint32_t first = kNoVersion;
    uint32_t last = kNoVersion;
  };

  void Take(const Read& read) {
    const Op& op = deduction_.OpOf(read);
    uint32_t version = kAbsentVersion;
    if (op.seen != Seen::kAbsent) {
      version = deduction_.writes_.Find(key_, op.value);
      if (!IsSound(read, version)) return;
      deduction_.graph_.Add(deduction_.writes_[version].transaction, read.transaction,
                            EdgeKind::kWr, key_);
    }
    std::vector<DependencyGraph::Source>& readers = readers_[version];
    readers.push_back({read.transaction, EdgeKind::kRw});
    const auto [seen, is_first] = seen_.emplace(read.transaction, std::make_pair(version, version));
    if (!is_first) seen->second.second = version;
    if (!read.is_before_own || !version_of_.contains(read.transaction)) return;
    if (!follows_.emplace(read.transaction, version).second) return;
    followers_[version].push_back(read.transaction);
    const auto [other, is_only] = first_follower_.emplace(version, &read);
    if (!is_only) FoundLostUpdate(*other->second, read);
  }

  // Whether it saw what a transaction left behind that counts. Tells if not.
  bool IsSound(const Read& read, uint32_t version) {
    if (version == kNoVersion) {
      deduction_.Found(Anomaly::kGarbage, read.transaction, {},
                       [&] { return absl::StrCat(Saw(read), ", which nobody wrote."); });
      return false;
    }
    const Write& write = deduction_.writes_[version];
    if (write.transaction == read.transaction) {
      deduction_.Found(Anomaly::kInternal, read.transaction, {}, [&] {
        return absl::StrCat(Saw(read),
                            ", which is its own write, but not what it had last written.");
      });
      return false;
    }
    if (!deduction_.IsCommitted(write.transaction)) {
      FoundAborted(read, write);
      return false;
    }
    if (!write.is_last) {
      deduction_.Found(Anomaly::kIntermediateRead, read.transaction, {write.transaction}, [&] {
        return absl::StrCat(Saw(read), " of ", deduction_.Name(write.transaction),
                            ", which went on to write something else.");
      });
      deduction_.graph_.Add(write.transaction, read.transaction, EdgeKind::kWr, key_);
      return false;
    }
    return true;
  }

  void FoundAborted(const Read& read, const Write& write) {
    deduction_.Found(Anomaly::kAbortedRead, read.transaction, {write.transaction}, [&] {
      return absl::StrCat(Saw(read), ", but ", deduction_.Name(write.transaction),
                          ", which wrote it, did not commit.");
    });
    const auto own = version_of_.find(read.transaction);
    if (own == version_of_.end()) return;
    const Write& written = deduction_.writes_[own->second];
    if (written.op < read.op) return;
    deduction_.Found(Anomaly::kDirtyUpdate, read.transaction, {write.transaction}, [&] {
      return absl::StrCat(Saw(read), " of ", deduction_.Name(write.transaction),
                          ", which did not commit, and committed ",
                          deduction_.Shown(read.transaction, written.op), " over it.");
    });
  }

  void FoundLostUpdate(const Read& a, const Read& b) {
    deduction_.Found(Anomaly::kLostUpdate, a.transaction, {b.transaction}, [&] {
      return absl::StrCat(deduction_.Name(a.transaction), " and ", deduction_.Name(b.transaction),
                          " both saw ", deduction_.Shown(a.transaction, a.op),
                          " and both wrote over it.");
    });
  }

  std::string Saw(const Read& read) const {
    return absl::StrCat(deduction_.Name(read.transaction), " saw ",
                        deduction_.Shown(read.transaction, read.op));
  }

  // Who read `version` comes before those that wrote behind it.
  void AddBefore(uint32_t version, const std::vector<uint32_t>& followers) {
    const auto readers = readers_.find(version);
    if (readers != readers_.end()) deduction_.graph_.AddAll(readers->second, followers, key_);
  }

  void OrderByRealTime() {
    std::vector<Touch> touches = Touches();
    std::sort(touches.begin(), touches.end(),
              [](const Touch& a, const Touch& b) { return a.invoked_at < b.invoked_at; });
    std::vector<const Touch*> returns;
    for (const Touch& touch : touches) {
      if (touch.returned_at != kNever) returns.push_back(&touch);
    }
    std::sort(returns.begin(), returns.end(),
              [](const Touch* a, const Touch* b) { return a->returned_at < b->returned_at; });
    std::vector<std::pair<uint32_t, uint32_t>> successions;
    std::vector<const Touch*>
        latest;  // Of those that have returned: nobody stands between them and now.
    auto next = returns.begin();
    for (const Touch& touch : touches) {
      for (; next != returns.end() && (*next)->returned_at < touch.invoked_at; ++next) {
        std::erase_if(latest, [next](const Touch* earlier) {
          return earlier->returned_at < (*next)->invoked_at;
        });
        latest.push_back(*next);
      }
      for (const Touch* earlier : latest) {
        // That absent comes first is known anyway, and that it comes back is a contradiction without this.
        if (earlier->last == touch.first || earlier->last == kAbsentVersion ||
            touch.first == kAbsentVersion) {
          continue;
        }
        successions.emplace_back(earlier->last, touch.first);
      }
    }
    AddSuccessions(std::move(successions));
  }

  std::vector<Touch> Touches() const {
    absl::flat_hash_map<uint32_t, Touch> touch_of;
    for (const auto& [transaction, versions] : seen_) {
      touch_of[transaction].first = versions.first;
      touch_of[transaction].last = versions.second;
    }
    for (const auto& [transaction, version] : version_of_) {
      Touch& touch = touch_of[transaction];
      if (touch.first == kNoVersion) touch.first = version;
      touch.last = version;
    }
    std::vector<Touch> touches;
    for (auto& [index, touch] : touch_of) {
      const Transaction& transaction = deduction_.history_.transactions[index];
      touch.invoked_at = transaction.invoked_at;
      if (transaction.outcome != Outcome::kUnknown) touch.returned_at = transaction.returned_at;
      touches.push_back(touch);
    }
    return touches;
  }

  void AddSuccessions(std::vector<std::pair<uint32_t, uint32_t>> successions) {
    std::sort(successions.begin(), successions.end());
    successions.erase(std::unique(successions.begin(), successions.end()), successions.end());
    for (size_t begin = 0, end = 0; begin < successions.size(); begin = end) {
      const uint32_t version = successions[begin].first;
      std::vector<uint32_t> targets;
      for (; end < successions.size() && successions[end].first == version; ++end) {
        targets.push_back(deduction_.writes_[successions[end].second].transaction);
      }
      std::vector<DependencyGraph::Source> sources;
      sources.push_back({deduction_.writes_[version].transaction, EdgeKind::kTimeWw});
      const auto readers = readers_.find(version);
      if (readers != readers_.end()) {
        for (const DependencyGraph::Source& reader : readers->second) {
          sources.push_back({reader.transaction, EdgeKind::kTimeRw});
        }
      }
      deduction_.graph_.AddAll(sources, targets, key_);
    }
  }

  Deduction& deduction_;
  const uint32_t key_;
  absl::flat_hash_map<uint32_t, uint32_t>
      version_of_;  // Left behind by each transaction that counts.
  absl::flat_hash_map<uint32_t, std::vector<DependencyGraph::Source>> readers_;  // Of each version.
  std::map<uint32_t, std::vector<uint32_t>> followers_;  // Who wrote right behind it.
  absl::flat_hash_map<uint32_t, const Read*> first_follower_;
  absl::flat_hash_map<uint32_t, uint32_t> follows_;
  absl::flat_hash_map<uint32_t, std::pair<uint32_t, uint32_t>> seen_;  // First and last, of each.
};

void Deduction::DeduceRegisters() {
  for (uint32_t key = 0; key < history_.keys.size(); ++key) {
    if (!writes_.IsList(key)) RegisterVersions(this, key).Deduce();
  }
}

}  // namespace acre::isolation

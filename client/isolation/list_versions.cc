// Lists: what was read tells in which order their elements were appended.

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "client/isolation/deduction.h"

namespace acre::isolation {

// One key.
class Deduction::ListVersions {
 public:
  ListVersions(Deduction* deduction, uint32_t key) : deduction_(*deduction), key_(key) {}

  void Deduce() {
    for (const Read& read : deduction_.ReadsOf(key_)) {
      View view;
      view.read = &read;
      const std::vector<int64_t>& list = deduction_.OpOf(read).list;
      view.base_count = list.size() - read.own_count;
      // What did not commit shows nobody where its own appends would have gone.
      const bool shows_own = deduction_.IsCommitted(read.transaction);
      view.seen = absl::MakeConstSpan(list).subspan(0, shows_own ? list.size() : view.base_count);
      views_.push_back(view);
    }
    if (!AreFlawless()) DropFlaws();
    BuildChain();
    for (const View& view : views_) AddEdgesOf(view);
    AddEdgesOfWriters();
    FindLostUpdates();
  }

 private:
  struct View {
    const Read* read = nullptr;
    absl::Span<const int64_t> seen;
    size_t base_count = 0;  // So many of its elements are not its own appends.
    bool is_in_order = true;
  };

  const Write* WriteOf(int64_t element) const {
    const uint32_t number = deduction_.writes_.Find(key_, element);
    return number == kNoWrite ? nullptr : &deduction_.writes_[number];
  }
  int64_t ValueOf(uint32_t number) const {
    const Write& write = deduction_.writes_[number];
    return deduction_.history_.transactions[write.transaction].ops[write.op].value;
  }
  std::string Element(int64_t element) const {
    return absl::StrCat(element, " in ", deduction_.history_.keys[key_]);
  }

  const View* Longest() const {
    const View* longest = nullptr;
    for (const View& view : views_) {
      if (longest == nullptr || view.seen.size() > longest->seen.size()) longest = &view;
    }
    return longest;
  }

  // The usual case: each read saw the beginning of the longest, and that holds only what it may.
  bool AreFlawless() const {
    const View* longest = Longest();
    if (longest == nullptr) return true;
    absl::flat_hash_set<int64_t> elements;
    for (const int64_t element : longest->seen) {
      const Write* write = WriteOf(element);
      if (write == nullptr || !deduction_.IsCommitted(write->transaction)) return false;
      if (!elements.insert(element).second) return false;
    }
    return std::all_of(views_.begin(), views_.end(), [longest](const View& view) {
      return view.seen == longest->seen.subspan(0, view.seen.size());
    });
  }

  // Tells what no list may hold, and goes on without it.
  void DropFlaws() {
    for (View& view : views_) {
      std::vector<int64_t> kept;
      size_t base_count = 0;
      absl::flat_hash_set<int64_t> elements;
      const Write* aborted = nullptr;
      bool is_dirty = false;
      for (size_t i = 0; i < view.seen.size(); ++i) {
        const int64_t element = view.seen[i];
        const Write* write = WriteOf(element);
        if (write == nullptr) {
          FoundGarbage(view, element);
        } else if (!elements.insert(element).second) {
          FoundDuplicate(view, element);
        } else if (deduction_.IsCommitted(write->transaction)) {
          if (aborted != nullptr && !is_dirty) FoundDirtyUpdate(*aborted, *write);
          is_dirty |= aborted != nullptr;
          kept.push_back(element);
          if (i < view.base_count) ++base_count;
        } else {
          if (aborted == nullptr) FoundAborted(view, element, *write);
          aborted = write;
        }
      }
      view.base_count = base_count;
      kept_.push_back(std::move(kept));
    }
    for (size_t i = 0; i < views_.size(); ++i) views_[i].seen = kept_[i];
    const View* longest = Longest();
    for (View& view : views_) {
      view.is_in_order = view.seen == longest->seen.subspan(0, view.seen.size());
      if (!view.is_in_order) FoundIncompatible(view, *longest);
    }
  }

  // The transactions that wrote the list, in its order, and which of them a read of so many elements has seen.
  void BuildChain() {
    const View* longest = Longest();
    chain_at_.push_back(0);
    if (longest == nullptr) return;
    deduction_.witnesses_[key_] = *longest->read;
    for (size_t i = 0; i < longest->seen.size(); ++i) {
      const Write& write = *WriteOf(longest->seen[i]);
      const uint32_t writer = write.transaction;
      if (write.prior != kNoWrite && !placed_.contains(ValueOf(write.prior))) {
        FoundPartial(*longest, write);
      }
      if (chain_.empty() || chain_.back() != writer) chain_.push_back(writer);
      chain_at_.push_back(chain_.size());
      first_place_.emplace(writer, i);
      placed_.insert(longest->seen[i]);
    }
  }

  void AddEdgesOf(const View& view) {
    const uint32_t reader = view.read->transaction;
    const Write* last = view.base_count == 0 ? nullptr : WriteOf(view.seen[view.base_count - 1]);
    if (last != nullptr && last->transaction != reader && !last->is_last) {
      FoundIntermediate(view, *last);
    }
    if (!view.is_in_order) {
      if (last != nullptr) deduction_.graph_.Add(last->transaction, reader, EdgeKind::kWr, key_);
      return;
    }
    const auto own = first_place_.find(reader);
    if (own != first_place_.end() && own->second < view.base_count) FoundFuture(view);
    const size_t count = chain_at_[view.base_count];
    if (count > 0) deduction_.graph_.Add(chain_[count - 1], reader, EdgeKind::kWr, key_);
    if (count < chain_.size()) {
      deduction_.graph_.Add(reader, chain_[count], EdgeKind::kRw, key_);
    } else {
      tail_.push_back({reader, EdgeKind::kRw});
    }
  }

  void AddEdgesOfWriters() {
    for (size_t i = 1; i < chain_.size(); ++i) {
      deduction_.graph_.Add(chain_[i - 1], chain_[i], EdgeKind::kWw, key_);
    }
    // A list only grows: what nobody saw was appended behind the longest that anybody saw.
    std::vector<uint32_t> unseen;
    for (const uint32_t number : deduction_.writes_.To(key_)) {
      const Write& write = deduction_.writes_[number];
      if (!deduction_.IsCommitted(write.transaction)) continue;
      writers_.insert(write.transaction);
      if (placed_.contains(ValueOf(number))) continue;
      const bool is_known = (!unseen.empty() && unseen.back() == write.transaction) ||
                            (!chain_.empty() && chain_.back() == write.transaction);
      if (!is_known) unseen.push_back(write.transaction);
    }
    if (!chain_.empty()) tail_.push_back({chain_.back(), EdgeKind::kWw});
    deduction_.graph_.AddAll(tail_, unseen, key_);
  }

  void FindLostUpdates() {
    absl::flat_hash_map<size_t, const Read*> updated;  // By how much of the list they had seen.
    for (const View& view : views_) {
      if (!view.is_in_order || !writers_.contains(view.read->transaction)) continue;
      const auto [other, is_first] = updated.emplace(view.base_count, view.read);
      if (is_first || other->second->transaction == view.read->transaction) continue;
      FoundLostUpdate(*other->second, *view.read);
    }
  }

  std::string Saw(const View& view) const {
    return absl::StrCat(deduction_.Name(view.read->transaction), " saw ",
                        deduction_.Shown(view.read->transaction, view.read->op));
  }
  void FoundGarbage(const View& view, int64_t element) {
    deduction_.Found(Anomaly::kGarbage, view.read->transaction, {}, [&] {
      return absl::StrCat(Saw(view), ", but nobody appended ", Element(element), ".");
    });
  }
  void FoundDuplicate(const View& view, int64_t element) {
    deduction_.Found(Anomaly::kDuplicate, view.read->transaction, {}, [&] {
      return absl::StrCat(Saw(view), ": ", Element(element), " is there twice.");
    });
  }
  void FoundAborted(const View& view, int64_t element, const Write& write) {
    deduction_.Found(Anomaly::kAbortedRead, view.read->transaction, {write.transaction}, [&] {
      return absl::StrCat(Saw(view), ", but ", deduction_.Name(write.transaction),
                          ", which appended ", Element(element), ", did not commit.");
    });
  }
  void FoundDirtyUpdate(const Write& aborted, const Write& write) {
    deduction_.Found(Anomaly::kDirtyUpdate, write.transaction, {aborted.transaction}, [&] {
      return absl::StrCat(deduction_.Name(write.transaction), " committed ",
                          deduction_.Shown(write.transaction, write.op), " behind ",
                          deduction_.Shown(aborted.transaction, aborted.op), " of ",
                          deduction_.Name(aborted.transaction), ", which did not commit.");
    });
  }
  void FoundIncompatible(const View& view, const View& longest) {
    const bool is_culprit = !deduction_.IsCommitted(view.read->transaction);
    const View& culprit = is_culprit ? view : longest;
    const View& other = is_culprit ? longest : view;
    deduction_.Found(Anomaly::kIncompatibleOrder, culprit.read->transaction,
                     {other.read->transaction}, [&] {
                       return absl::StrCat(Saw(culprit), " and ", Saw(other),
                                           ": neither can have grown into the other.");
                     });
  }
  void FoundPartial(const View& view, const Write& write) {
    deduction_.Found(Anomaly::kIncompatibleOrder, view.read->transaction, {write.transaction}, [&] {
      return absl::StrCat(Saw(view), ", with ", deduction_.Shown(write.transaction, write.op),
                          " of ", deduction_.Name(write.transaction),
                          " and not, before it, what that had appended before.");
    });
  }
  void FoundIntermediate(const View& view, const Write& write) {
    deduction_.Found(Anomaly::kIntermediateRead, view.read->transaction, {write.transaction}, [&] {
      return absl::StrCat(Saw(view), ", which ends with ",
                          deduction_.Shown(write.transaction, write.op), " of ",
                          deduction_.Name(write.transaction), ", which went on to append more.");
    });
  }
  void FoundFuture(const View& view) {
    deduction_.Found(Anomaly::kInternal, view.read->transaction, {}, [&] {
      return absl::StrCat(Saw(view), ", with an element that it had not yet appended, or that ",
                          "others have appended behind.");
    });
  }
  void FoundLostUpdate(const Read& a, const Read& b) {
    deduction_.Found(Anomaly::kLostUpdate, a.transaction, {b.transaction}, [&] {
      return absl::StrCat(deduction_.Name(a.transaction), " and ", deduction_.Name(b.transaction),
                          " both saw ", deduction_.Shown(a.transaction, a.op),
                          " (their own appends apart) and both appended to it.");
    });
  }

  Deduction& deduction_;
  const uint32_t key_;
  std::vector<View> views_;
  std::vector<std::vector<int64_t>> kept_;  // What DropFlaws() leaves of each view.
  std::vector<uint32_t> chain_;             // No transaction twice in a row.
  std::vector<size_t> chain_at_;            // How many of the chain wrote the first n elements.
  absl::flat_hash_map<uint32_t, size_t> first_place_;  // Of each transaction of the chain.
  absl::flat_hash_set<int64_t> placed_;                // All elements of the longest.
  absl::flat_hash_set<uint32_t> writers_;
  std::vector<DependencyGraph::Source> tail_;  // Who comes before all that nobody saw.
};

void Deduction::DeduceLists() {
  for (uint32_t key = 0; key < history_.keys.size(); ++key) {
    if (writes_.IsList(key)) ListVersions(this, key).Deduce();
  }
}

}  // namespace acre::isolation

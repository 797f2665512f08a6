// One home of EndsScene: the memory and the worker of a server, what it answers other homes, and its door to them.

#ifndef ACRE_TESTS_TRANSACTIONS_ENDS_HOME_H_
#define ACRE_TESTS_TRANSACTIONS_ENDS_HOME_H_

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/transactions/ends_scene.h"

namespace acre::server {

inline kvs::TransactionWrite EndsPut(absl::string_view key) {
  kvs::TransactionWrite write;
  write.key = key;
  write.value = "new";
  return write;
}

class EndsScene::Links final : public OtherHomes {
 public:
  Links(EndsScene* scene, size_t from) : scene_(scene), from_(from) {}

  Task<absl::StatusOr<kvs::TransactionOutcome>> Promise(Participant participant, Id id) override;
  Task<absl::Status> Resolve(Participant participant, Id id, bool commit) override;
  Task<absl::Status> Close(Participant participant, Thread thread) override;
  std::string NameOf(const Participant& participant) const override {
    return absl::StrCat("server ", participant.server_index + 1);
  }

 private:
  // One way. Not OK: it got lost.
  Task<absl::Status> Travel();
  absl::StatusOr<Home*> Reach(const Participant& participant) const;

  EndsScene* const scene_;
  const size_t from_;
};

class EndsScene::Home final : public LocalHome {
 public:
  static constexpr size_t kSegmentBytes = 1 << 20;

  Home(EndsScene* scene, size_t index) : scene_(scene), index_(index) { Start(1); }

  // ---- LocalHome.
  Task<kvs::TransactionOutcome> Promise(Id id) override {
    co_await Hop();
    co_return PromiseNow(id);
  }
  Task<absl::Status> Resolve(Id id, bool commit) override {
    co_await Hop();
    co_return ResolveNow(id, commit);
  }
  Task<std::vector<kvs::OpenTransaction>> OpenOf(Thread thread) override {
    co_await Hop();
    co_return home_->OpenOf(thread);
  }
  Task<std::vector<Participant>> ParticipantsOf(Thread thread) override {
    co_await Hop();
    co_return home_->ParticipantsOf(thread);
  }
  Task<absl::Status> Forget(Thread thread) override {
    co_await Hop();
    absl::Status status = home_->ForgetThread(thread);
    if (!status.ok()) scene_->Find(status.ToString());
    finished_below_.erase(thread);
    if (scene_->options_.mistakes.closed_is_forgotten) closed_.erase(thread);
    co_return status;
  }

  // ---- What other homes ask.
  kvs::TransactionOutcome AskedPromise(const Id& id) {
    const EndsMistakes& mistakes = scene_->options_.mistakes;
    const kvs::TransactionOutcome known = home_->Query(id);
    if (known == kvs::TransactionOutcome::kCommitted ||
        known == kvs::TransactionOutcome::kAborted) {
      return known;
    }
    if (!mistakes.promises_unclosed &&
        (known == kvs::TransactionOutcome::kLocked || !mistakes.unknown_promises)) {
      CloseThread(id.coordinator);
    }
    return PromiseNow(id);
  }
  absl::Status AskedResolve(const Id& id, bool commit) {
    // Never seen, or forgotten since: a question that took its time. Nothing is locked, and nothing is to be kept.
    if (home_->Query(id) == kvs::TransactionOutcome::kUnknown) return absl::OkStatus();
    const absl::Status status = ResolveNow(id, commit);
    return status.ok() ? status : absl::DataLossError(status.message());
  }
  absl::Status AskedClose(const Thread& thread) {
    CloseThread(thread);
    if (home_->OpenOf(thread).empty()) return absl::OkStatus();
    return absl::UnavailableError("something is open still");
  }

  // ---- Rings.
  // False: its gate is closed.
  bool Place(const Thread& thread, Message message) {
    Ring& ring = rings_[thread];
    if (!ring.is_open) return false;
    ring.placed.push_back(std::move(message));
    return true;
  }
  void PollOne(const Thread& thread) {
    Ring& ring = rings_[thread];
    if (ring.placed.empty()) return;
    const Message message = std::move(ring.placed.front());
    ring.placed.pop_front();
    Take(message);
  }
  // Takes nothing more of it, once what was placed is applied.
  void CloseThread(const Thread& thread) {
    Ring& ring = rings_[thread];
    // Of one that has not said anything yet it is not known which ring is its own.
    if (ring.is_bound) ring.is_open = false;
    if (scene_->options_.mistakes.promises_undrained) ring.placed.clear();
    while (ring.is_bound && !ring.placed.empty()) PollOne(thread);
    closed_.insert(thread);
    home_->CloseThread(thread);
    ends_->OnLost(thread);
  }
  bool IsBound(const Thread& thread) { return rings_[thread].is_bound; }

  // ---- Life.
  void Start(uint64_t incarnation) {
    incarnation_ = incarnation;
    server_ = std::make_unique<kvs::TestServer>();
    server_->Open(&scene_->real_clock_, 1, kSegmentBytes, /*index_percent=*/2);
    holders_ = std::make_unique<kvs::TransactionHolders>();
    home_ = std::make_unique<kvs::TransactionHome>(server_->table(), &scene_->scheduler_,
                                                   holders_.get());
    links_ = std::make_unique<Links>(scene_, index_);
    ends_ = std::make_unique<TransactionEnds>(&scene_->scheduler_, self(), this, links_.get());
  }
  void Stop() {
    ends_.reset();
    links_.reset();
    home_.reset();
    holders_.reset();
    server_.reset();
    rings_.clear();
    closed_.clear();
    finished_below_.clear();
  }
  bool is_up() const { return home_ != nullptr; }
  uint64_t incarnation() const { return incarnation_; }
  Participant self() const { return {static_cast<uint32_t>(index_), incarnation_}; }
  kvs::TransactionHome& home() { return *home_; }
  TransactionEnds& ends() { return *ends_; }
  kvs::Table& table() { return *server_->table(); }

  absl::Status ResolveNow(const Id& id, bool commit) {
    absl::Status status = home_->Resolve(id, commit);
    Note(id);
    return status;
  }

 private:
  struct Ring {
    bool is_open = true;
    bool is_bound = false;  // Something of the thread has come.
    std::deque<Message> placed;
  };

  // To another worker, and back.
  Task<void> Hop() { co_await scene_->scheduler_.SleepFor(scene_->random_.Uniform(5 * 1'000)); }

  kvs::TransactionOutcome PromiseNow(const Id& id) {
    // Nothing comes any more: a promise that needs no record, nor room for one.
    if (closed_.contains(id.coordinator) && home_->Query(id) == kvs::TransactionOutcome::kUnknown &&
        id.sequence >= finished_below_[id.coordinator]) {
      return kvs::TransactionOutcome::kPromised;
    }
    const kvs::TransactionOutcome outcome = home_->Promise(id);
    Note(id);
    return outcome;
  }

  void Take(const Message& message) {
    rings_[message.id.coordinator].is_bound = true;
    const bool is_closed = closed_.contains(message.id.coordinator);
    switch (message.kind) {
      case Message::Kind::kLock:
        TakeLock(message, is_closed);
        break;
      case Message::Kind::kCommit:
        if (const absl::Status status = home_->Commit(message.id); !status.ok()) {
          scene_->Find(absl::StrCat("a COMMIT that was taken is refused: ", status.message()));
        }
        break;
      case Message::Kind::kAbort:
        if (is_closed) break;
        if (const absl::Status status = home_->Abort(message.id); !status.ok()) {
          scene_->Find(absl::StrCat("an ABORT that was taken is refused: ", status.message()));
        }
        break;
    }
    Note(message.id);
  }
  void TakeLock(const Message& message, bool is_closed) {
    const Thread& thread = message.id.coordinator;
    bool yes = false;
    if (!is_closed) {
      uint64_t& below = finished_below_[thread];
      below = std::max(below, message.finished_below);
      if (const auto status = home_->Truncate(thread, {}, message.finished_below); !status.ok()) {
        scene_->Find(status.ToString());
      }
      std::vector<kvs::TransactionWrite> writes;
      for (const std::string& key : message.keys) writes.push_back(EndsPut(key));
      yes = home_->Lock(message.id, message.participants, writes, {}).is_yes();
    }
    scene_->scheduler_.Spawn(scene_->VoteLater(message.id, index_, yes)).Detach();
  }
  // What became of it here, for good.
  void Note(const Id& id) {
    Fate& fate = scene_->fates_[{id.coordinator.process_id, id.sequence}];
    const kvs::TransactionOutcome outcome = home_->Query(id);
    if (outcome == kvs::TransactionOutcome::kCommitted) fate.committed_at.insert(index_);
    if (outcome == kvs::TransactionOutcome::kAborted) fate.aborted_at.insert(index_);
    if (fate.by_operator || fate.committed_at.empty() || fate.aborted_at.empty()) return;
    scene_->Find(absl::StrCat(id.ToString(), " is committed at home ", *fate.committed_at.begin(),
                              " and aborted at home ", *fate.aborted_at.begin()));
  }

  EndsScene* const scene_;
  const size_t index_;
  uint64_t incarnation_ = 0;
  std::unique_ptr<kvs::TestServer> server_;
  std::unique_ptr<kvs::TransactionHolders> holders_;
  std::unique_ptr<kvs::TransactionHome> home_;
  std::unique_ptr<Links> links_;
  std::unique_ptr<TransactionEnds> ends_;
  absl::flat_hash_map<Thread, Ring> rings_;
  absl::flat_hash_set<Thread> closed_;
  absl::flat_hash_map<Thread, uint64_t> finished_below_;
};

}  // namespace acre::server

#endif  // ACRE_TESTS_TRANSACTIONS_ENDS_HOME_H_

#include "tests/transactions/ends_home.h"

#include <utility>

#include "glog/logging.h"

namespace acre::server {

using kvs::TransactionOutcome;

Task<absl::Status> EndsScene::Links::Travel() {
  co_await scene_->scheduler_.SleepFor(scene_->SomeNs());
  if (scene_->Chance(scene_->loss_)) co_return absl::UnavailableError("lost");
  co_return absl::OkStatus();
}

absl::StatusOr<EndsScene::Home*> EndsScene::Links::Reach(const Participant& participant) const {
  CHECK_NE(participant.server_index, from_);
  Home* const home = scene_->homes_[participant.server_index].get();
  if (!home->is_up()) return absl::UnavailableError("it is down");
  if (home->incarnation() != participant.incarnation &&
      !scene_->options_.mistakes.any_incarnation) {
    return absl::FailedPreconditionError("it was started anew");
  }
  return home;
}

Task<absl::StatusOr<TransactionOutcome>> EndsScene::Links::Promise(Participant participant, Id id) {
  const EndsMistakes& mistakes = scene_->options_.mistakes;
  const auto as_seen = [&](absl::Status status) -> absl::StatusOr<TransactionOutcome> {
    if (mistakes.unreachable_promises) return TransactionOutcome::kPromised;
    return status;
  };
  absl::Status there = co_await Travel();
  if (!there.ok()) co_return as_seen(there);
  if (scene_->Chance(scene_->repeats_)) {
    scene_->scheduler_
        .Spawn(scene_->Later([this_scene = scene_, participant, id] {
          Home* const home = this_scene->homes_[participant.server_index].get();
          if (home->is_up() && home->incarnation() == participant.incarnation) {
            (void)home->AskedPromise(id);
          }
        }))
        .Detach();
  }
  const absl::StatusOr<Home*> home = Reach(participant);
  if (!home.ok()) co_return as_seen(home.status());
  TransactionOutcome outcome = (*home)->AskedPromise(id);
  absl::Status back = co_await Travel();
  if (!back.ok()) co_return as_seen(back);
  if (outcome == TransactionOutcome::kUnknown && mistakes.unknown_promises) {
    outcome = TransactionOutcome::kPromised;
  }
  if (outcome == TransactionOutcome::kPromised && mistakes.first_promise_aborts) {
    outcome = TransactionOutcome::kAborted;
  }
  co_return outcome;
}

Task<absl::Status> EndsScene::Links::Resolve(Participant participant, Id id, bool commit) {
  absl::Status there = co_await Travel();
  if (!there.ok()) co_return there;
  const absl::StatusOr<Home*> home = Reach(participant);
  if (!home.ok()) co_return home.status();
  absl::Status status = (*home)->AskedResolve(id, commit);
  absl::Status back = co_await Travel();
  if (!back.ok()) co_return back;
  co_return status;
}

Task<absl::Status> EndsScene::Links::Close(Participant participant, Thread thread) {
  absl::Status there = co_await Travel();
  if (!there.ok()) co_return there;
  const absl::StatusOr<Home*> home = Reach(participant);
  if (!home.ok()) co_return home.status();
  absl::Status status = (*home)->AskedClose(thread);
  absl::Status back = co_await Travel();
  if (!back.ok()) co_return back;
  co_return status;
}

}  // namespace acre::server

#include "server/termination.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace acre::server {

class Termination::Workers final : public LocalHome {
 public:
  Workers(Scheduler* scheduler, TransactionService* service)
      : scheduler_(scheduler), service_(service) {}

  Task<kvs::TransactionOutcome> Promise(kvs::TransactionId id) override {
    return service_->Promise(scheduler_, id);
  }
  Task<absl::Status> Resolve(kvs::TransactionId id, bool commit) override {
    return service_->Resolve(scheduler_, id, commit);
  }
  Task<std::vector<kvs::OpenTransaction>> OpenOf(kvs::TransactionThread thread) override {
    return service_->OpenOf(scheduler_, thread);
  }
  Task<std::vector<kvs::TransactionParticipant>> ParticipantsOf(
      kvs::TransactionThread thread) override {
    return service_->ParticipantsOf(scheduler_, thread);
  }
  Task<absl::Status> Forget(kvs::TransactionThread thread) override {
    return service_->Forget(scheduler_, thread);
  }

 private:
  Scheduler* const scheduler_;
  TransactionService* const service_;
};

absl::StatusOr<std::unique_ptr<Termination>> Termination::Create(HomeLinks::Options links,
                                                                 TransactionService* service) {
  Scheduler* const scheduler = links.scheduler;
  absl::StatusOr<std::unique_ptr<HomeLinks>> made = HomeLinks::Create(std::move(links));
  if (!made.ok()) return made.status();
  std::unique_ptr<Termination> termination(new Termination());
  termination->links_ = *std::move(made);
  termination->workers_ = std::make_unique<Workers>(scheduler, service);
  termination->ends_ = std::make_unique<TransactionEnds>(
      scheduler, service->self(), termination->workers_.get(), termination->links_.get());
  return termination;
}

Termination::~Termination() = default;

void Termination::AppendStats(std::string* text) const {
  const TransactionEnds::Counts counts = ends_->counts();
  absl::StrAppend(text, "terminations_committed ", counts.resolved_commit,
                  "\nterminations_aborted ", counts.resolved_abort, "\nterminations_waiting ",
                  counts.unresolved, "\ntermination_questions ", counts.asks,
                  "\ntermination_contradictions ", counts.contradictions, "\n");
}

}  // namespace acre::server

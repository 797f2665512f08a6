#include "server/termination.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace acre::server {

absl::StatusOr<std::unique_ptr<Termination>> Termination::Create(HomeLinks::Options links,
                                                                 TransactionService* service) {
  Scheduler* const scheduler = links.scheduler;
  absl::StatusOr<std::unique_ptr<HomeLinks>> made = HomeLinks::Create(std::move(links));
  if (!made.ok()) return made.status();
  std::unique_ptr<Termination> termination(new Termination());
  termination->links_ = *std::move(made);
  termination->workers_ = std::make_unique<LocalWorkers>(scheduler, service);
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
                  "\ntermination_contradictions ", counts.contradictions,
                  "\ntermination_forgotten ", counts.forgotten, "\n");
}

}  // namespace acre::server

#include "lock/peer_links.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/deadline.h"

namespace acre {
namespace {

using transport::Completion;
using transport::CompletionKind;
using transport::QueuePairState;

absl::Status Unreachable(uint32_t lock_id, const absl::Status& why) {
  return absl::UnavailableError(absl::StrCat("client ", lock_id,
                                             ", which is next to this one at a lock, "
                                             "cannot be reached: ",
                                             why.message()));
}

absl::Status Closed() {
  return absl::UnavailableError("this thread takes no part in the locks any more");
}

}  // namespace

PeerLinks::PeerLinks(Options options)
    : options_(std::move(options)), scheduler_(options_.port->scheduler()) {}

PeerLinks::~PeerLinks() { Close(); }

Task<absl::StatusOr<LockPeers::Peer>> PeerLinks::Find(uint32_t lock_id) {
  if (is_closed_) co_return Closed();
  if (dead_.contains(lock_id)) {
    co_return Unreachable(lock_id, absl::UnavailableError("it is dead"));
  }
  if (const auto peer = FindConnected(lock_id)) co_return *peer;
  std::shared_ptr<Link>& place = links_[lock_id];
  if (place == nullptr) {
    place = std::make_shared<Link>(scheduler_);
    place->attempt = scheduler_->Spawn(Attempt(lock_id, place));
  }
  const std::shared_ptr<Link> link = place;
  co_await link->settled.Wait();
  if (!link->status.ok()) co_return link->status;
  // Others have run since.
  if (const auto peer = FindConnected(lock_id)) co_return *peer;
  co_return Unreachable(lock_id, absl::UnavailableError("the connection broke at once"));
}

absl::optional<LockPeers::Peer> PeerLinks::FindConnected(uint32_t lock_id) {
  const auto found = links_.find(lock_id);
  if (found == links_.end()) return absl::nullopt;
  const Link& link = *found->second;
  if (!link.pieces.is_whole()) return absl::nullopt;
  if (link.queue_pair->state() == QueuePairState::kBroken) {
    End(lock_id, Unreachable(lock_id, link.queue_pair->status()));
    return absl::nullopt;
  }
  return Peer{.queue_pair = link.queue_pair.get(), .descriptors = link.pieces.key()};
}

Task<void> PeerLinks::Attempt(uint32_t lock_id, std::shared_ptr<Link> link) {
  const uint64_t deadline_ns = scheduler_->NowNs() + options_.attempt_ns_max;
  const absl::Status status =
      co_await WithDeadline(*scheduler_, deadline_ns, Connect(lock_id, link.get()));
  // It may have ended otherwise meanwhile, and another be in its place.
  if (status.ok() || link->settled.is_set()) co_return;
  End(lock_id, Unreachable(lock_id, status));
}

Task<absl::Status> PeerLinks::Connect(uint32_t lock_id, Link* link) {
  Task<absl::StatusOr<std::string>> asking = options_.find_endpoint(lock_id);
  const absl::StatusOr<std::string> endpoint = co_await std::move(asking);
  if (!endpoint.ok()) co_return endpoint.status();
  if (link->settled.is_set()) co_return absl::OkStatus();  // It was ended while we asked.
  PeerHello hello;
  hello.from_lock_id = options_.lock_id;
  hello.to_lock_id = lock_id;
  hello.ticket = options_.ticket;
  std::string private_data;
  transport::AppendWire(&private_data, hello);
  auto connecting =
      options_.fabric->Connect(*endpoint, options_.port->completion_queue(), private_data);
  if (!connecting.ok()) co_return connecting.status();
  link->queue_pair = *std::move(connecting);
  options_.port->SetSink(link->queue_pair.get(), this);
  co_await link->settled.Wait();
  co_return absl::OkStatus();
}

void PeerLinks::End(uint32_t lock_id, absl::Status status) {
  const auto found = links_.find(lock_id);
  if (found == links_.end()) return;
  const std::shared_ptr<Link> link = std::move(found->second);
  links_.erase(found);
  if (link->queue_pair != nullptr) options_.port->Forget(link->queue_pair.get());
  link->queue_pair.reset();
  link->status = std::move(status);
  link->settled.Set();
}

void PeerLinks::OnCompletion(const Completion& completion) {
  if (completion.kind == CompletionKind::kConnected) return;  // The key follows.
  const auto found = std::find_if(links_.begin(), links_.end(), [&](const auto& entry) {
    return entry.second->queue_pair.get() == completion.queue_pair;
  });
  if (found == links_.end()) return;
  const uint32_t lock_id = found->first;
  Link* const link = found->second.get();
  if (completion.kind != CompletionKind::kReceive) {
    return End(lock_id, Unreachable(lock_id, link->queue_pair->status()));
  }
  if (completion.length_bytes != 0 || !link->pieces.Add(completion.immediate)) {
    return End(lock_id, Unreachable(lock_id, absl::UnavailableError("what it says is no key")));
  }
  if (link->pieces.is_whole()) link->settled.Set();
}

void PeerLinks::OnUnreachable(uint32_t lock_id) {
  if (is_closed_ || dead_.contains(lock_id)) return;
  const auto [place, is_new] = reports_.try_emplace(lock_id);
  if (!is_new) {
    place->second.once_more = true;
    return;
  }
  place->second.task = scheduler_->Spawn(RunReport(lock_id));
}

Task<void> PeerLinks::RunReport(uint32_t lock_id) {
  do {
    reports_[lock_id].once_more = false;
    Task<void> reporting = options_.report_unreachable(lock_id);
    co_await std::move(reporting);
  } while (!dead_.contains(lock_id) && reports_[lock_id].once_more);
  reports_.erase(lock_id);
}

void PeerLinks::CloseTo(absl::Span<const uint32_t> dead) {
  for (const uint32_t lock_id : dead) {
    dead_.insert(lock_id);
    End(lock_id, Unreachable(lock_id, absl::UnavailableError("it is dead")));
  }
}

void PeerLinks::Close() {
  if (std::exchange(is_closed_, true)) return;
  for (auto& [lock_id, report] : reports_) report.task.Cancel();
  reports_.clear();
  while (!links_.empty()) {
    const std::shared_ptr<Link> link = links_.begin()->second;
    link->attempt.Cancel();
    End(links_.begin()->first, Closed());
  }
}

}  // namespace acre

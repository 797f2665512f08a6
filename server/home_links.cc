#include "server/home_links.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::server {
namespace {

using kvs::TransactionParticipant;

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kSilenceNsMin = 10 * kNsPerMs;
constexpr uint64_t kSilenceNsMax = 1'000 * kNsPerMs;

}  // namespace

absl::StatusOr<std::unique_ptr<HomeLinks>> HomeLinks::Create(Options options) {
  CHECK(options.scheduler != nullptr && options.ask_timeout_ms > 0);
  CHECK_LT(options.self_index, options.cluster.servers.size());
  absl::StatusOr<std::unique_ptr<FabricSet>> fabrics =
      FabricSet::Create(options.scheduler, {.name = options.fabric, .device = options.device});
  if (!fabrics.ok()) return fabrics.status();
  return std::unique_ptr<HomeLinks>(new HomeLinks(std::move(options), *std::move(fabrics)));
}

HomeLinks::HomeLinks(Options options, std::unique_ptr<FabricSet> fabrics)
    : options_(std::move(options)),
      scheduler_(options_.scheduler),
      fabrics_(std::move(fabrics)),
      links_(options_.cluster.servers.size()) {}

HomeLinks::~HomeLinks() { dropping_.Cancel(); }

// ---- Questions.

Task<absl::Status> HomeLinks::Ask(const TransactionParticipant& participant, kvs::Method method,
                                  const std::string& request, std::string* response,
                                  bool* answered) {
  *answered = false;
  if (participant.server_index >= links_.size() ||
      participant.server_index == options_.self_index) {
    co_return absl::FailedPreconditionError("the cluster has no such other server");
  }
  // Also when it is dropped meanwhile.
  const std::shared_ptr<Link> link = LinkTo(participant.server_index);
  const uint64_t now_ns = scheduler_->NowNs();
  if (now_ns < link->silent_until_ns || link->is_tried) co_return link->silence;
  link->last_used_ns = now_ns;
  const uint64_t deadline_ns = now_ns + static_cast<uint64_t>(options_.ask_timeout_ms) * kNsPerMs;
  const absl::StatusOr<uint64_t> generation = co_await Connect(link.get(), deadline_ns);
  // Of another view: so it was started anew, since a server has one view for life.
  const bool is_other_view = absl::IsOutOfRange(generation.status());
  if (!generation.ok() && !is_other_view) {
    NoteSilence(link.get(), generation.status());
    co_return link->silence;
  }
  link->distance_ns = 0;
  if (is_other_view || *generation != participant.incarnation) {
    co_return absl::FailedPreconditionError("it was started anew since");
  }
  absl::Status status =
      co_await link->core->Call(method, request, response, deadline_ns, participant.incarnation);
  link->last_used_ns = scheduler_->NowNs();
  // Started anew, and connected to, between the two.
  if (absl::IsOutOfRange(status)) {
    co_return absl::FailedPreconditionError("it was started anew since");
  }
  const bool is_silence = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  *answered = !is_silence;
  if (is_silence && !link->core->is_connected()) NoteSilence(link.get(), status);
  co_return status;
}

Task<absl::StatusOr<uint64_t>> HomeLinks::Connect(Link* link, uint64_t deadline_ns) {
  link->is_tried = link->distance_ns != 0;
  const absl::Cleanup tried = [link] { link->is_tried = false; };
  absl::StatusOr<uint64_t> generation = co_await link->core->Generation(deadline_ns);
  co_return generation;
}

std::string HomeLinks::NameOf(const TransactionParticipant& participant) const {
  const std::vector<transport::HostPort>& servers = options_.cluster.servers;
  const std::string name = absl::StrCat("server ", participant.server_index + 1);
  if (participant.server_index >= servers.size()) return name;
  return absl::StrCat(name, " at ", servers[participant.server_index].ToString());
}

// ---- Links.

std::shared_ptr<HomeLinks::Link> HomeLinks::LinkTo(uint32_t index) {
  std::shared_ptr<Link>& link = links_[index];
  if (link != nullptr) return link;
  ClientOptions options;
  options.path = Path::kRpc;
  options.connect_timeout_ms = options_.ask_timeout_ms;
  options.operation_timeout_ms = options_.ask_timeout_ms;
  const transport::ServerPlace place{options_.cluster.view, index + 1,
                                     static_cast<uint32_t>(links_.size())};
  link = std::make_shared<Link>();
  link->core =
      std::make_unique<ClientCore>(scheduler_, std::move(options), options_.cluster.servers[index],
                                   place, options_.credentials, &name_, fabrics_.get());
  link->last_used_ns = scheduler_->NowNs();
  if (dropping_.done()) dropping_ = scheduler_->Spawn(DropIdle());
  return link;
}

void HomeLinks::NoteSilence(Link* link, const absl::Status& why) {
  // Several questions may have waited for one attempt.
  const uint64_t now_ns = scheduler_->NowNs();
  if (now_ns >= link->silent_until_ns) {
    link->distance_ns = std::clamp(2 * link->distance_ns, kSilenceNsMin, kSilenceNsMax);
    link->silent_until_ns = now_ns + link->distance_ns;
  }
  link->silence = NotNow(why);
}

Task<void> HomeLinks::DropIdle() {
  const auto is_link = [](const std::shared_ptr<Link>& link) { return link != nullptr; };
  do {
    co_await scheduler_->SleepFor(options_.idle_ns / 2);
    const uint64_t now_ns = scheduler_->NowNs();
    for (std::shared_ptr<Link>& link : links_) {
      // In use: whoever asks has it too.
      if (link == nullptr || link.use_count() > 1) continue;
      if (now_ns - link->last_used_ns >= options_.idle_ns) link.reset();
    }
  } while (std::any_of(links_.begin(), links_.end(), is_link));
}

size_t HomeLinks::links_count() const {
  return static_cast<size_t>(
      std::count_if(links_.begin(), links_.end(),
                    [](const std::shared_ptr<Link>& link) { return link != nullptr; }));
}

}  // namespace acre::server

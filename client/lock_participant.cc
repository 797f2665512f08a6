#include "client/lock_participant.h"

#include <utility>

#include "absl/memory/memory.h"
#include "kvs/wire.h"
#include "runtime/deadline.h"
#include "transport/wire_bytes.h"

namespace acre {
namespace {

uint16_t Number(kvs::Method method) { return static_cast<uint16_t>(method); }

std::string WireOf(const auto& wire) {
  std::string bytes;
  transport::AppendWire(&bytes, wire);
  return bytes;
}

}  // namespace

// What the home answered, as the service thread hands it over. Shared: the hand-over may come by when nobody waits
// for it any more.
struct LockParticipant::Joined {
  explicit Joined(Scheduler* scheduler) : event(scheduler) {}

  absl::StatusOr<kvs::JoinAnswer> answer = absl::UnknownError("it has not joined yet");
  Event event;
};

LockParticipant::LockParticipant(Options options)
    : options_(std::move(options)), scheduler_(options_.port->scheduler()) {}

LockParticipant::~LockParticipant() {
  SayFarewell();
  writer_.reset();
  locker_.reset();
  // Nobody writes to the descriptors, or asks about them, before they go.
  if (answerer_ != nullptr) {
    service_->RunThere([this] { answerer_.reset(); });
  }
}

void LockParticipant::SayFarewell() {
  if (peers_ != nullptr) peers_->Close();
  if (farewell_ == nullptr) return;
  // Release: what our requests did is there before it.
  farewell_->Store(descriptors_->process_id(), std::memory_order_release);
  farewell_ = nullptr;
}

Task<absl::StatusOr<std::unique_ptr<LockParticipant>>> LockParticipant::Join(Options options) {
  auto participant = absl::WrapUnique(new LockParticipant(std::move(options)));
  const absl::Status status = co_await participant->JoinNow();
  if (!status.ok()) co_return status;
  co_return participant;
}

Task<absl::Status> LockParticipant::JoinNow() {
  const absl::StatusOr<kvs::JoinAnswer> answer = co_await JoinAtHome();
  if (!answer.ok()) co_return answer.status();
  ticket_ = answer->ticket;
  auto descriptors = RemoteDescriptors::Create(options_.fabric, options_.region_id + 1,
                                               answer->lock_id, kDescriptors);
  if (!descriptors.ok()) co_return descriptors.status();
  descriptors_ = *std::move(descriptors);
  absl::Status status;
  service_->RunThere([&] { status = answerer_->Serve(descriptors_.get(), ticket_); });
  if (!status.ok()) co_return status;
  // From the second of these on the server must be sure of our end, so we can tell it before.
  status = co_await TakeIntents(answer->lock_id);
  if (status.ok()) status = co_await TakeRegions(answer->lock_id);
  if (!status.ok()) co_return status;
  co_return MakeWriter(answer->lock_id);
}

Task<absl::StatusOr<kvs::JoinAnswer>> LockParticipant::JoinAtHome() {
  auto service = LockService::Shared();
  if (!service.ok()) co_return service.status();
  service_ = *std::move(service);
  LockAnswerer::Options options;
  options.fabric = options_.fabric;
  options.server = options_.server;
  options.credentials = options_.credentials;
  options.view = options_.view;
  options.process_id = options_.process_id;
  options.generation = options_.generation;
  options.region_id = options_.region_id;
  options.descriptors_count = kDescriptors;
  options.deadline_ns = options_.deadline_ns;
  const auto joined = std::make_shared<Joined>(scheduler_);
  // The scheduler is there as long as the answerer, whose end our destructor waits for.
  service_->RunThere([&] {
    answerer_ = std::make_unique<LockAnswerer>(service_->scheduler(), std::move(options));
    answerer_->Join([scheduler = scheduler_, joined](absl::StatusOr<kvs::JoinAnswer> answer) {
      scheduler->Post([joined, answer = std::move(answer)] {
        joined->answer = answer;
        joined->event.Set();
      });
    });
  });
  co_await joined->event.Wait();
  co_return joined->answer;
}

Task<absl::Status> LockParticipant::Ask(kvs::Method method, uint32_t lock_id,
                                        std::string* response) {
  const std::string request = WireOf(kvs::LockKeysRequest{lock_id, 0, ticket_});
  Task<absl::Status> call = options_.rpc->Call(Number(method), request, "", response);
  absl::Status status = co_await WithDeadline(*scheduler_, options_.deadline_ns, std::move(call));
  if (absl::IsNotFound(status)) status = absl::UnavailableError(status.message());
  co_return status;
}

Task<absl::Status> LockParticipant::TakeIntents(uint32_t lock_id) {
  std::string response;
  const absl::Status status = co_await Ask(kvs::Method::kLockIntents, lock_id, &response);
  if (!status.ok()) co_return status;
  const absl::StatusOr<transport::RemoteKey> key = kvs::ParseLockIntents(response);
  if (!key.ok()) co_return absl::DataLossError(key.status().message());
  home_.queue_pair = options_.queue_pair;
  home_.intents = *key;
  if (!options_.fabric->device().can_map) co_return absl::OkStatus();
  const auto intents = options_.queue_pair->Map(*key);
  if (!intents.ok()) co_return intents.status();
  if (intents->writable_words == nullptr ||
      intents->size_bytes < kvs::LockIntentsRegionBytes(kDescriptors)) {
    co_return absl::DataLossError("the server gave us no room for intents");
  }
  farewell_ = intents->writable_words + kvs::LockFarewellOffset(kDescriptors) / kWordBytes;
  co_return absl::OkStatus();
}

Task<absl::Status> LockParticipant::TakeRegions(uint32_t lock_id) {
  std::string response;
  const absl::Status status = co_await Ask(kvs::Method::kLockRegions, lock_id, &response);
  if (!status.ok()) co_return status;
  absl::StatusOr<LockRegionKeys> regions = kvs::ParseLockRegions(response);
  if (!regions.ok()) co_return absl::DataLossError(regions.status().message());
  home_.regions = *std::move(regions);
  co_return absl::OkStatus();
}

absl::Status LockParticipant::MakeWriter(uint32_t lock_id) {
  PeerLinks::Options peers;
  peers.fabric = options_.fabric;
  peers.port = options_.port;
  peers.lock_id = lock_id;
  peers.ticket = ticket_;
  peers.find_endpoint = [this](uint32_t of) { return FindPeer(of); };
  peers.report_unreachable = [this](uint32_t of) { return ReportPeer(of); };
  peers_ = std::make_unique<PeerLinks>(std::move(peers));
  RemoteLocker::Options locker;
  locker.fabric = options_.fabric;
  locker.region_id = options_.region_id + 2;
  locker.cohort.port = options_.port;
  locker.cohort.home = &home_;
  locker.cohort.peers = peers_.get();
  locker.cohort.descriptors = descriptors_.get();
  auto made = RemoteLocker::Create(locker);
  if (!made.ok()) return made.status();
  locker_ = *std::move(made);
  kvs::RemoteWriter::Options writer;
  writer.fabric = options_.fabric;
  writer.port = options_.port;
  writer.home = &home_;
  writer.locker = locker_.get();
  writer.directory = options_.directory;
  writer.region_id = options_.region_id + 3;
  auto writes = kvs::RemoteWriter::Create(std::move(writer));
  if (!writes.ok()) return writes.status();
  writer_ = *std::move(writes);
  return absl::OkStatus();
}

Task<absl::StatusOr<std::string>> LockParticipant::FindPeer(uint32_t lock_id) {
  const std::string request = WireOf(kvs::LockPeerRequest{lock_id, 0});
  std::string response;
  const absl::Status status =
      co_await options_.rpc->Call(Number(kvs::Method::kLockPeer), request, "", &response);
  if (!status.ok()) co_return status;
  co_return response;
}

Task<void> LockParticipant::ReportPeer(uint32_t lock_id) {
  const std::string request = WireOf(kvs::LockPeerRequest{lock_id, 0});
  std::string response;
  // Fails when the connection breaks, and then the home gives us up anyway.
  (void)co_await options_.rpc->Call(Number(kvs::Method::kLockPeerLost), request, "", &response);
}

}  // namespace acre

#include "client/fabric_backend.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/fabric_set.h"
#include "glog/logging.h"
#include "kvs/epoch.h"
#include "kvs/wire.h"
#include "runtime/deadline.h"
#include "transport/wire_bytes.h"

namespace acre {
namespace {

uint16_t MethodNumber(kvs::Method method) { return static_cast<uint16_t>(method); }

// The status of a key that a server answered in a MultiGet.
absl::Status AnswerStatus(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return absl::OkStatus();
    case absl::StatusCode::kNotFound:
      return absl::NotFoundError("no such record");
    case absl::StatusCode::kOutOfRange:
      return absl::OutOfRangeError("the key belongs to another server of the cluster");
    default:
      return absl::Status(code, "the server could not answer for this key");
  }
}

std::vector<kvs::RegionEntry> RegionsOf(const transport::ConnectedPeer& peer) {
  std::vector<kvs::RegionEntry> regions;
  for (const transport::GrantedRegion& region : peer.regions) {
    regions.push_back({region.region_id, region.key, region.size_bytes});
  }
  return regions;
}

}  // namespace

Task<absl::StatusOr<std::shared_ptr<FabricBackend>>> FabricBackend::Create(
    transport::Fabric* fabric, transport::Port* port, transport::ConnectedPeer peer,
    Options options) {
  std::shared_ptr<FabricBackend> backend(
      new FabricBackend(fabric, port, std::move(peer), std::move(options)));
  absl::Status status = co_await backend->MakeReader();
  if (!status.ok()) co_return status;
  co_return backend;
}

FabricBackend::FabricBackend(transport::Fabric* fabric, transport::Port* port,
                             transport::ConnectedPeer peer, Options options)
    : fabric_(fabric),
      port_(port),
      scheduler_(port->scheduler()),
      epoch_interval_ns_(peer.lease_ns / 5),
      share_(kvs::ShareOf(peer.place)),
      view_(peer.place.view),
      generation_(peer.generation),
      may_write_((peer.facts & kvs::kFactMayWrite) != 0),
      options_(std::move(options)),
      regions_(RegionsOf(peer)),
      link_(std::move(peer.link)),
      rpc_(scheduler_, link_.channel(), /*handler=*/nullptr, view_),
      lock_calls_ended_(scheduler_) {
  port_->SetSink(link_.queue_pair(), this);
  scheduler_->AddPoller(this);
  participation_ = MayParticipate();
}

FabricBackend::~FabricBackend() {
  reading_epoch_.Cancel();
  participating_.Cancel();
  for (SpawnHandle& task : unlocking_) task.Cancel();
  if (participant_ != nullptr) participant_->SayFarewell();
  scheduler_->RemovePoller(this);
  port_->SetSink(link_.queue_pair(), nullptr);
}

Task<absl::Status> FabricBackend::MakeReader() {
  Path path = options_.path;
  // A server that lets clients write tells nothing of its memory to those that it does not trust.
  const bool is_told = !regions_.empty();
  if (path == Path::kAuto && !is_told) path = Path::kRpc;
  if (path == Path::kAuto) path = fabric_->device().can_map ? Path::kMapped : Path::kOneSided;
  path_ = path;
  if (path != Path::kRpc && !is_told) {
    co_return absl::PermissionDeniedError(
        absl::StrCat("path ", PathName(path),
                     ": the server lets clients write its memory, and this process is none "
                     "that it trusts: run it as the server's user, or use path rpc"));
  }
  if (path == Path::kMapped) {
    auto reader = kvs::MappedReader::Create(link_.queue_pair(), regions_, scheduler_->clock(),
                                            options_.operation_timeout_ns, share_);
    if (!reader.ok()) co_return reader.status();
    mapped_reader_ = *std::move(reader);
  } else if (path == Path::kOneSided) {
    auto reader =
        co_await kvs::RemoteReader::Create(fabric_, port_, link_.queue_pair(), regions_,
                                           options_.region_id, options_.deadline_ns, share_);
    if (!reader.ok()) co_return reader.status();
    remote_reader_ = *std::move(reader);
  } else {
    CHECK(path == Path::kRpc) << "no path of a fabric";
    co_return absl::OkStatus();
  }
  const kvs::TransactionParticipant home{static_cast<uint32_t>(share_.server_index), generation_};
  transactions_ = std::make_unique<kvs::TransactionLink>(scheduler_, &rpc_, mapped_reader_.get(),
                                                         remote_reader_.get(), home);
  co_return absl::OkStatus();
}

absl::Status FabricBackend::status() const {
  if (!given_up_.ok()) return given_up_;
  if (!link_.channel()->status().ok()) return link_.channel()->status();
  if (link_.queue_pair()->state() == transport::QueuePairState::kReady) return absl::OkStatus();
  return link_.queue_pair()->status();
}

Task<absl::Status> FabricBackend::Get(absl::string_view key, std::string* value,
                                      uint64_t deadline_ns) {
  if (mapped_reader_ != nullptr) {
    absl::Status status = mapped_reader_->GetNow(key, value);
    if (absl::IsUnavailable(status)) status = co_await GetMapped(key, value, deadline_ns);
    co_return status;
  }
  if (remote_reader_ != nullptr) {
    absl::Status status = co_await remote_reader_->Get(key, value, deadline_ns);
    co_return status;
  }
  Task<absl::Status> call = rpc_.Call(MethodNumber(kvs::Method::kGet), key, "", value);
  absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(call));
  co_return status;
}

Task<absl::Status> FabricBackend::GetMapped(absl::string_view key, std::string* value,
                                            uint64_t deadline_ns) {
  for (;;) {
    absl::Status status = mapped_reader_->GetNow(key, value);
    const bool is_locked =
        absl::IsUnavailable(status) && mapped_reader_->IsLive() && this->status().ok();
    if (!is_locked || scheduler_->NowNs() >= deadline_ns) co_return status;
    co_await scheduler_->Yield();
  }
}

Task<absl::Status> FabricBackend::Put(absl::string_view key, absl::string_view value,
                                      uint64_t deadline_ns) {
  if (!kvs::FitsInline(key.size(), value.size()) || !WantsOneSided()) {
    absl::Status status = co_await PutByRpc(key, value, deadline_ns);
    co_return status;
  }
  if (options_.put_path == PutPath::kAuto) {
    absl::Status status = co_await PutJudged(key, value, deadline_ns);
    co_return status;
  }
  absl::Status joined = co_await AwaitParticipant(deadline_ns);
  if (!joined.ok()) co_return joined;
  absl::Status status = co_await PutOneSided(key, value, deadline_ns);
  co_return status;
}

Task<absl::Status> FabricBackend::PutJudged(absl::string_view key, absl::string_view value,
                                            uint64_t deadline_ns) {
  const bool one_sided = put_judge_.OneSided() && IsParticipant();
  const uint64_t begin_ticks = scheduler_->clock()->Ticks();
  absl::Status status;
  if (one_sided) {
    status = co_await PutOneSided(key, value, deadline_ns);
  } else {
    status = co_await PutByRpc(key, value, deadline_ns);
  }
  // With what it took in vain, if it went by RPC in the end.
  if (status.ok()) put_judge_.Note(one_sided, scheduler_->clock()->Ticks() - begin_ticks);
  co_return status;
}

Task<absl::Status> FabricBackend::PutByRpc(absl::string_view key, absl::string_view value,
                                           uint64_t deadline_ns) {
  std::string head;
  std::string response;
  kvs::EncodePutHead(key, value, &head);
  Task<absl::Status> call = rpc_.Call(MethodNumber(kvs::Method::kPut), head, value, &response);
  absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(call));
  co_return status;
}

bool FabricBackend::WantsOneSided() const {
  if (options_.put_path != PutPath::kAuto) return options_.put_path == PutPath::kOneSided;
  // On one machine the server may have to kill us for it: that is for who asks for it.
  return !fabric_->device().can_map && participation_.ok();
}

Task<absl::Status> FabricBackend::PutOneSided(absl::string_view key, absl::string_view value,
                                              uint64_t deadline_ns) {
  const absl::StatusOr<bool> put = co_await participant_->writer()->Update(key, value, deadline_ns);
  // We may stand in a queue, and our caller need not come back to move on in it: the server takes us out.
  if (absl::IsDeadlineExceeded(put.status())) {
    given_up_ = absl::UnavailableError(put.status().message());
  }
  if (!put.ok()) co_return put.status();
  if (*put) co_return absl::OkStatus();
  absl::Status status = co_await PutByRpc(key, value, deadline_ns);
  co_return status;
}

bool FabricBackend::IsParticipant() {
  if (participant_ == nullptr && participation_.ok() && participating_.done()) {
    participating_ = scheduler_->Spawn(Participate());
  }
  return participant_ != nullptr;
}

Task<absl::Status> FabricBackend::AwaitParticipant(uint64_t deadline_ns) {
  // Not a part of this Put: if the Put is given up it goes on, for the next one.
  if (IsParticipant()) co_return absl::OkStatus();
  if (!participation_.ok()) co_return participation_;
  Task<void> over = ParticipateOver();
  absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(over));
  if (!status.ok()) co_return status;
  if (participant_ != nullptr) co_return absl::OkStatus();
  // All who waited are told the same, whatever the first of them does then.
  co_return attempt_;
}

Task<void> FabricBackend::ParticipateOver() { co_await participating_.Join(); }

Task<void> FabricBackend::Participate() {
  const absl::Status status = co_await TryToParticipate();
  attempt_ = status;
  // What may have gone by the next Put: that one tries again, if nothing else will do.
  const bool may_pass = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
                        absl::IsResourceExhausted(status);
  const bool tries_again = may_pass && options_.put_path == PutPath::kOneSided;
  participation_ = tries_again ? absl::OkStatus() : status;
}

Task<absl::Status> FabricBackend::TryToParticipate() {
  const uint64_t deadline_ns = scheduler_->NowNs() + options_.connect_timeout_ns;
  LockParticipant::Options options;
  options.fabric = fabric_;
  options.port = port_;
  options.queue_pair = link_.queue_pair();
  options.rpc = &rpc_;
  options.server = options_.server;
  options.credentials = options_.credentials;
  options.view = view_;
  options.process_id = options_.process_id;
  options.generation = options_.process_id_generation;
  options.region_id = FabricSet::TakeRegionIds(LockParticipant::kRegionIds);
  options.deadline_ns = deadline_ns;
  absl::StatusOr<std::shared_ptr<const kvs::RemoteDirectory>> directory =
      co_await Directory(deadline_ns);
  if (!directory.ok()) co_return directory.status();
  options.directory = *std::move(directory);
  absl::StatusOr<std::unique_ptr<LockParticipant>> joined =
      co_await LockParticipant::Join(std::move(options));
  if (!joined.ok()) co_return joined.status();
  participant_ = *std::move(joined);
  co_return absl::OkStatus();
}

absl::Status FabricBackend::MayParticipate() const {
  if (!may_write_) {
    const std::string& name = fabric_->device().provider;
    return absl::FailedPreconditionError(absl::StrCat(
        "put path one_sided: it lets no client write its memory through fabric ", name,
        ": start it with --trust, and with --fabric=", name, " if it serves others, too"));
  }
  if (options_.shares_queue_pairs) {
    return absl::FailedPreconditionError(
        "put path one_sided: the server could not keep one thread from writing while others go on "
        "on its queue pair: use threads_per_qp 1");
  }
  if (regions_.empty()) {
    return absl::PermissionDeniedError(
        "put path one_sided: the server does not trust this process with its memory: run it as the "
        "server's user");
  }
  return absl::OkStatus();
}

Task<absl::StatusOr<std::shared_ptr<const kvs::RemoteDirectory>>> FabricBackend::Directory(
    uint64_t deadline_ns) {
  if (remote_reader_ != nullptr) co_return remote_reader_->directory();
  if (directory_ != nullptr) co_return directory_;
  // An attempt that was given up may have left one, and a READ into it.
  if (directory_landings_ == nullptr) {
    auto landings = kvs::LandingPool::Create(fabric_, port_, FabricSet::TakeRegionIds(1),
                                             kDirectoryLandings, sizeof(kvs::SegmentHeader));
    if (!landings.ok()) co_return landings.status();
    directory_landings_ = *std::move(landings);
  }
  absl::StatusOr<std::shared_ptr<const kvs::RemoteDirectory>> directory =
      co_await kvs::RemoteDirectory::Read(port_, link_.queue_pair(), directory_landings_.get(),
                                          regions_, share_, deadline_ns);
  if (directory.ok()) directory_ = *directory;
  co_return directory;
}

Task<absl::Status> FabricBackend::Delete(absl::string_view key, uint64_t deadline_ns) {
  std::string response;
  absl::Status status = co_await Call(kvs::Method::kDelete, key, &response, deadline_ns);
  co_return status;
}

// A lock that was asked for, while there is no answer: the server may have given it to us.
class FabricBackend::AskedLock {
 public:
  AskedLock(FabricBackend* backend, uint64_t ticket) : backend_(backend), ticket_(ticket) {
    ++backend_->lock_calls_;
  }
  ~AskedLock() {
    --backend_->lock_calls_;
    backend_->lock_calls_ended_.NotifyOne();
    if (!is_answered_) backend_->UnlockInBackground(ticket_);
  }
  AskedLock(const AskedLock&) = delete;
  AskedLock& operator=(const AskedLock&) = delete;
  void SetAnswered() { is_answered_ = true; }

 private:
  FabricBackend* const backend_;
  const uint64_t ticket_;
  bool is_answered_ = false;
};

Task<void> FabricBackend::LockCallEnded() { co_await lock_calls_ended_.Wait(); }

void FabricBackend::UnlockInBackground(uint64_t ticket) {
  unlocking_.remove_if([](const SpawnHandle& task) { return task.done(); });
  unlocking_.push_back(scheduler_->Spawn(UnlockUnasked(ticket)));
}

Task<void> FabricBackend::UnlockUnasked(uint64_t ticket) {
  std::string request;
  std::string response;
  transport::AppendWire(&request, kvs::UnlockRequest{ticket});
  // Fails when the connection breaks, and then the server has given up all of them.
  (void)co_await rpc_.Call(MethodNumber(kvs::Method::kUnlock), request, "", &response);
}

Task<absl::StatusOr<uint64_t>> FabricBackend::Lock(absl::string_view name, uint64_t ticket,
                                                   uint64_t wait_ns, uint64_t deadline_ns) {
  while (lock_calls_ >= kLockCallsMax) {
    Task<void> room = LockCallEnded();
    const absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(room));
    if (!status.ok()) co_return status;
  }
  std::string head;
  std::string response;
  transport::AppendWire(&head, kvs::LockHeader{ticket, wait_ns});
  AskedLock asked(this, ticket);
  Task<absl::Status> call = rpc_.Call(MethodNumber(kvs::Method::kLock), head, name, &response);
  const absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(call));
  if (absl::IsDeadlineExceeded(status)) co_return status;
  asked.SetAnswered();
  if (!status.ok()) co_return status;
  const absl::StatusOr<kvs::LockAnswer> answer = kvs::ParseLockAnswer(response);
  if (!answer.ok()) co_return absl::DataLossError(answer.status().message());
  co_return answer->token;
}

Task<absl::Status> FabricBackend::Unlock(uint64_t ticket, uint64_t deadline_ns) {
  std::string request;
  std::string response;
  transport::AppendWire(&request, kvs::UnlockRequest{ticket});
  absl::Status status = co_await Call(kvs::Method::kUnlock, request, &response, deadline_ns);
  co_return status;
}

Task<absl::StatusOr<std::string>> FabricBackend::Locks(uint64_t deadline_ns) {
  std::string response;
  absl::Status status = co_await Call(kvs::Method::kLocks, "", &response, deadline_ns);
  if (!status.ok()) co_return status;
  co_return response;
}

Task<absl::Status> FabricBackend::ForceUnlock(absl::string_view name, uint64_t token,
                                              uint64_t deadline_ns) {
  std::string head;
  std::string response;
  transport::AppendWire(&head, kvs::ForceUnlockHeader{token});
  Task<absl::Status> call =
      rpc_.Call(MethodNumber(kvs::Method::kForceUnlock), head, name, &response);
  absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(call));
  co_return status;
}

Task<void> FabricBackend::MultiGet(absl::Span<const absl::string_view> keys,
                                   absl::Span<std::string> values,
                                   absl::Span<absl::Status> statuses, uint64_t deadline_ns) {
  if (mapped_reader_ != nullptr) {
    mapped_reader_->MultiGet(keys, values, statuses, /*patience_ns=*/0);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!absl::IsUnavailable(statuses[i])) continue;
      statuses[i] = co_await GetMapped(keys[i], &values[i], deadline_ns);
    }
    co_return;
  }
  if (remote_reader_ != nullptr) {
    co_await remote_reader_->MultiGet(keys, values, statuses, deadline_ns);
    co_return;
  }
  while (!keys.empty()) {
    const size_t count = std::min(keys.size(), kvs::kMultiGetKeysMax);
    Task<absl::Status> step =
        MultiGetByRpc(keys.first(count), values.first(count), statuses.first(count));
    absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(step));
    if (!status.ok()) {
      std::fill(statuses.begin(), statuses.end(), status);
      co_return;
    }
    keys.remove_prefix(count);
    values.remove_prefix(count);
    statuses.remove_prefix(count);
  }
}

// At most kMultiGetKeysMax keys. A server answers as many as fit in a message: ask till all are.
Task<absl::Status> FabricBackend::MultiGetByRpc(absl::Span<const absl::string_view> keys,
                                                absl::Span<std::string> values,
                                                absl::Span<absl::Status> statuses) {
  std::string request;
  std::string response;
  size_t done = 0;
  while (done < keys.size()) {
    kvs::EncodeMultiGet(keys.subspan(done), &request);
    absl::Status status =
        co_await rpc_.Call(MethodNumber(kvs::Method::kMultiGet), request, "", &response);
    if (!status.ok()) co_return status;
    const auto answers = kvs::ParseMultiGetResponse(response, keys.size() - done);
    if (!answers.ok()) {
      absl::Status damaged = absl::DataLossError(answers.status().message());
      co_return damaged;
    }
    for (const kvs::ParsedAnswer& answer : *answers) {
      values[done].assign(answer.value.data(), answer.value.size());
      statuses[done] = AnswerStatus(answer.code);
      ++done;
    }
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::string>> FabricBackend::Stats(uint64_t deadline_ns) {
  std::string text;
  absl::Status status = co_await Call(kvs::Method::kStats, "", &text, deadline_ns);
  if (!status.ok()) co_return status;
  co_return text;
}

Task<absl::Status> FabricBackend::Call(kvs::Method method, absl::string_view request,
                                       std::string* response, uint64_t deadline_ns) {
  Task<absl::Status> call = rpc_.Call(MethodNumber(method), request, "", response);
  absl::Status status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(call));
  co_return status;
}

Task<absl::StatusOr<kvs::ClusterAnswer>> FabricBackend::Cluster(uint64_t deadline_ns) {
  std::string bytes;
  absl::Status status = co_await Call(kvs::Method::kCluster, "", &bytes, deadline_ns);
  if (!status.ok()) co_return status;
  absl::StatusOr<kvs::ClusterAnswer> answer = kvs::ParseClusterAnswer(bytes);
  if (!answer.ok()) {
    absl::Status damaged = absl::DataLossError(answer.status().message());
    co_return damaged;
  }
  co_return answer;
}

kvs::ReaderStats FabricBackend::reader_stats() const {
  if (mapped_reader_ != nullptr) return mapped_reader_->stats();
  if (remote_reader_ != nullptr) return remote_reader_->stats();
  return {};
}

kvs::WriterStats FabricBackend::writer_stats() const {
  return participant_ == nullptr ? kvs::WriterStats{} : participant_->writer()->stats();
}

transport::VerbCounters FabricBackend::verbs() const {
  transport::VerbCounters verbs = link_.queue_pair()->verbs();
  verbs.round_trips += rpc_.calls_made() + rpc_.notices_made();
  return verbs;
}

void FabricBackend::OnCompletion(const transport::Completion& completion) {
  link_.channel()->OnCompletion(completion);
}

bool FabricBackend::Poll() {
  bool worked = rpc_.Poll();
  if (!failed_) {
    const absl::Status why = status();
    if (!why.ok()) {
      failed_ = true;
      rpc_.Fail(absl::UnavailableError(why.message()));
      return true;
    }
    LookAtEpoch();
  }
  return worked;
}

void FabricBackend::LookAtEpoch() {
  if (mapped_reader_ != nullptr) {
    Announce(mapped_reader_->ServerEpoch());
    return;
  }
  if (remote_reader_ == nullptr || !reading_epoch_.done()) return;
  const uint64_t now_ticks = scheduler_->clock()->Ticks();
  if (now_ticks < look_at_epoch_ticks_) return;
  look_at_epoch_ticks_ = scheduler_->clock()->TicksAt(scheduler_->NowNs() + epoch_interval_ns_);
  reading_epoch_ = scheduler_->Spawn(ReadEpoch());
}

Task<void> FabricBackend::ReadEpoch() {
  const absl::StatusOr<uint64_t> epoch = co_await remote_reader_->ServerEpoch();
  // Not in the middle of a read (kvs/epoch.h), whoever began it: it may still be at an object that the
  // server was to keep for it. With reads always under way nothing is announced, and the server leaves us
  // out after a lease: that costs a reader a retry now and then, no more.
  if (epoch.ok() && remote_reader_->reads_under_way() == 0) Announce(*epoch);
}

void FabricBackend::Announce(uint64_t epoch) {
  if (epoch == announced_epoch_) return;
  announced_epoch_ = epoch;
  link_.channel()->WritePeerWord(kvs::kEpochPeerWord, epoch);
}

}  // namespace acre

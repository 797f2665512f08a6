// FabricBackend: a connection on a fabric. Deletes go by RPC; Gets and Puts by the paths that were asked for.
//
// While the scheduler runs, it moves calls on, notices the server's end, and announces the epoch that it
// has seen (kvs/epoch.h).

#ifndef ACRE_CLIENT_FABRIC_BACKEND_H_
#define ACRE_CLIENT_FABRIC_BACKEND_H_

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "client/backend.h"
#include "client/lock_participant.h"
#include "client/put_judge.h"
#include "kvs/landing.h"
#include "kvs/remote_directory.h"
#include "runtime/scheduler.h"
#include "runtime/wait_queue.h"
#include "transport/bootstrap_peer.h"
#include "transport/completion_sink.h"
#include "transport/port.h"
#include "transport/rpc.h"

namespace acre {

class FabricBackend final : public Backend, private Poller, private transport::CompletionSink {
 public:
  // Region ids that a connection takes up at first: its channel's, and those of its reader.
  static constexpr uint32_t kRegionIds = 3;

  struct Options {
    Path path = Path::kAuto;  // kAuto: the best there is.
    PutPath put_path = PutPath::kAuto;
    bool shares_queue_pairs = false;  // With other threads of the process.
    uint32_t region_id = 0;           // The first of those behind the channel's.
    uint64_t operation_timeout_ns = 0;
    uint64_t connect_timeout_ns = 0;
    // For further connections to the server.
    transport::HostPort server;
    uint32_t process_id = 0;  // Ours, and the incarnation of the server that gave it.
    uint64_t process_id_generation = 0;
    transport::Credentials credentials;
    uint64_t deadline_ns = 0;  // Of Create().
  };
  // Takes over a link and makes the reader for the path. Borrows the rest, which outlives it.
  // Errors: those of the readers' Create functions.
  static Task<absl::StatusOr<std::shared_ptr<FabricBackend>>> Create(transport::Fabric* fabric,
                                                                     transport::Port* port,
                                                                     transport::ConnectedPeer peer,
                                                                     Options options);
  ~FabricBackend() override;

  absl::Status status() const override;
  Task<absl::Status> Get(absl::string_view key, std::string* value, uint64_t deadline_ns) override;
  Task<absl::Status> Put(absl::string_view key, absl::string_view value,
                         uint64_t deadline_ns) override;
  Task<absl::Status> Delete(absl::string_view key, uint64_t deadline_ns) override;
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses, uint64_t deadline_ns) override;
  Task<absl::StatusOr<std::string>> Stats(uint64_t deadline_ns) override;
  Task<absl::Status> Call(kvs::Method method, absl::string_view request, std::string* response,
                          uint64_t deadline_ns) override;
  Task<absl::StatusOr<kvs::ClusterAnswer>> Cluster(uint64_t deadline_ns) override;
  Task<absl::StatusOr<uint64_t>> Lock(absl::string_view name, uint64_t ticket, uint64_t wait_ns,
                                      uint64_t deadline_ns) override;
  Task<absl::Status> Unlock(uint64_t ticket, uint64_t deadline_ns) override;
  Task<absl::StatusOr<std::string>> Locks(uint64_t deadline_ns) override;
  Task<absl::Status> ForceUnlock(absl::string_view name, uint64_t token,
                                 uint64_t deadline_ns) override;
  kvs::TransactionLink* transactions() override { return transactions_.get(); }
  uint64_t generation() const override { return generation_; }
  Path path() const override { return path_; }
  std::string fabric() const override { return fabric_->device().provider; }
  kvs::ReaderStats reader_stats() const override;
  kvs::WriterStats writer_stats() const override;
  transport::VerbCounters verbs() const override;

 private:
  FabricBackend(transport::Fabric* fabric, transport::Port* port, transport::ConnectedPeer peer,
                Options options);

  Task<absl::Status> MakeReader();
  // In place. A record that is locked is waited for with others of the thread in between: it may be locked for one of them.
  Task<absl::Status> GetMapped(absl::string_view key, std::string* value, uint64_t deadline_ns);
  Task<absl::Status> PutByRpc(absl::string_view key, absl::string_view value, uint64_t deadline_ns);
  // The way that has been quicker of late.
  Task<absl::Status> PutJudged(absl::string_view key, absl::string_view value,
                               uint64_t deadline_ns);
  // Requires: a part in the server's locks. By RPC after all, if the record does not lie inline.
  Task<absl::Status> PutOneSided(absl::string_view key, absl::string_view value,
                                 uint64_t deadline_ns);
  // Whether Puts of records that could lie inline go one-sided, or may.
  bool WantsOneSided() const;
  // Whether it has its part in the server's locks; if not, an attempt to take it is under way, or has failed.
  bool IsParticipant();
  // What will never do on this connection, if anything: FailedPrecondition, PermissionDenied.
  absl::Status MayParticipate() const;
  // The part in the server's locks: one attempt to take it, which all who want it await.
  Task<absl::Status> AwaitParticipant(uint64_t deadline_ns);
  Task<void> Participate();
  Task<absl::Status> TryToParticipate();
  Task<void> ParticipateOver();
  Task<absl::StatusOr<std::shared_ptr<const kvs::RemoteDirectory>>> Directory(uint64_t deadline_ns);
  Task<absl::Status> MultiGetByRpc(absl::Span<const absl::string_view> keys,
                                   absl::Span<std::string> values,
                                   absl::Span<absl::Status> statuses);
  // Tells the server that nobody waits for the lock any more, or holds it.
  class AskedLock;
  Task<void> LockCallEnded();
  void UnlockInBackground(uint64_t ticket);
  Task<void> UnlockUnasked(uint64_t ticket);
  bool Poll() override;
  void OnCompletion(const transport::Completion& completion) override;
  void LookAtEpoch();
  Task<void> ReadEpoch();
  void Announce(uint64_t epoch);

  transport::Fabric* const fabric_;
  transport::Port* const port_;
  Scheduler* const scheduler_;
  const uint64_t epoch_interval_ns_;
  const kvs::KeyShare share_;  // Of the server.
  const uint64_t view_;        // Likewise.
  const uint64_t generation_;  // Likewise.
  const bool may_write_;       // It says that we may write by ourselves.
  const Options options_;
  const std::vector<kvs::RegionEntry> regions_;
  Path path_ = Path::kRpc;
  PutJudge put_judge_;
  // Not OK: no Put goes one-sided on this connection.
  absl::Status participation_;
  absl::Status attempt_;   // What the last attempt to take part that has ended came to.
  absl::Status given_up_;  // Not OK: why this connection was given up from this side.
  // READs at a time of attempts to learn where records are; those of attempts that were given up count.
  static constexpr size_t kDirectoryLandings = 16;
  std::unique_ptr<kvs::LandingPool> directory_landings_;
  std::shared_ptr<const kvs::RemoteDirectory>
      directory_;  // Where records are, on paths without a reader of it.
  std::unique_ptr<LockParticipant> participant_;  // Goes after the queue pair.
  transport::Link link_;
  transport::RpcPeer rpc_;
  std::unique_ptr<kvs::TransactionLink> transactions_;
  bool failed_ = false;  // Calls under way were told.

  uint64_t announced_epoch_ = 0;
  uint64_t look_at_epoch_ticks_ = 0;
  SpawnHandle reading_epoch_;
  SpawnHandle participating_;
  std::list<SpawnHandle> unlocking_;  // And some that have ended.
  // Locks that are asked for. So many at a time that calls which get them on, Unlock above all, find a place.
  static constexpr uint32_t kLockCallsMax = transport::kCallsMax / 2;
  uint32_t lock_calls_ = 0;
  WaitQueue lock_calls_ended_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_FABRIC_BACKEND_H_

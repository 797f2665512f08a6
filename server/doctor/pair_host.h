// PairHost: `kv_doctor --serve`, the side of a pair that waits for the other.
//
// A peer costs memory, so there are few at a time, and none stays longer than a check lasts, whether it says
// something or nothing. Who is turned away is counted and told of, never so often that strangers could fill a
// disk with it.
//
// Ownership: has a thread of its own, which is gone with it. Borrows the clock.
// Threads:   one at a time. PairHostOptions::say is called on the host's own.

#ifndef ACRE_SERVER_DOCTOR_PAIR_HOST_H_
#define ACRE_SERVER_DOCTOR_PAIR_HOST_H_

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "server/doctor/pair_doors.h"
#include "server/doctor/pair_link.h"
#include "transport/bootstrap_server.h"
#include "transport/refusal_log.h"
#include "transport/secret.h"
#include "transport/socket.h"

namespace acre::doctor {

struct PairHostOptions {
  Clock* clock = nullptr;
  transport::HostPort listen;
  std::vector<std::string> fabrics;  // As of --fabric.
  std::string device = {};
  std::shared_ptr<const transport::Secret> secret = nullptr;
  std::function<void(absl::Span<uint8_t>)> fill_random = nullptr;
  std::function<void(absl::string_view)> say = nullptr;  // Told of what does not go as it could.
  // How long a peer may stay; then its connection is closed. Longer than what PairOptions gives a fabric.
  uint64_t link_ns_max = 30'000'000'000;
};

class PairHost : public transport::BootstrapServer::Delegate, public Poller {
 public:
  // Peers connected at a time; the next is sent away. Judged when it comes, and again when it comes back on a
  // fabric: many may have been greeted while there was still room.
  static constexpr size_t kPeersMax = 16;

  // Listens when it returns.
  // Errors: those of PairDoors::Open(), Fabric::Listen(), Resolve() and BindSocket();
  //         InvalidArgument - other machines reach `listen`, and there is no secret.
  static absl::StatusOr<std::unique_ptr<PairHost>> Start(PairHostOptions options);
  ~PairHost() override;

  const std::string& address() const { return address_; }
  std::string Names() const { return doors_->networks()->Names(); }

  // Since the start: who was refused and why, and for whom there was no room. Any thread.
  const transport::RefusalLog& refusals() const { return refusals_; }
  uint64_t crowded_out_count() const { return crowded_out_.Load(std::memory_order_relaxed); }
  // The same on one line for people, and how many connections were checked over. Any thread.
  std::string Tally() const;

 private:
  // A peer whose handshake went well.
  struct Guest {
    explicit Guest(std::unique_ptr<PairLink> guest_link) : link(std::move(guest_link)) {}
    ~Guest() { expiry.Cancel(); }

    const std::unique_ptr<PairLink> link;
    SpawnHandle expiry;
    bool is_over = false;  // It stayed too long.
  };

  explicit PairHost(PairHostOptions options);

  absl::Status Open();
  absl::Status MayEnter(const transport::Hello& hello) override;
  void OnPeer(transport::ArrivingPeer peer) override;
  void OnOtherPurpose(absl::string_view purpose, ScopedFd stream) override;
  Task<void> Welcome(transport::ArrivingPeer peer);
  Task<void> Expire(Guest* guest, std::string door);
  bool HasRoom() const { return guests_.size() + welcoming_.size() < kPeersMax; }
  // Counts and tells of one more for whom there is none.
  absl::Status NoRoom();
  bool Poll() override;

  const PairHostOptions options_;
  std::string address_;
  Scheduler scheduler_;
  std::unique_ptr<PairDoors> doors_;
  transport::RefusalLog refusals_;
  // Relaxed: counters order nothing. Stored by the host's thread, loaded by any.
  SharedWord guests_came_;
  SharedWord crowded_out_;
  uint64_t next_crowd_line_ns_ = 0;
  std::list<Guest> guests_;
  std::list<SpawnHandle> welcoming_;
  std::unique_ptr<transport::BootstrapServer> bootstrap_;
  std::thread thread_;
};

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_PAIR_HOST_H_

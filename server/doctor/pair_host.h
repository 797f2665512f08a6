// PairHost: `kv_doctor --serve`, the side of a pair that waits for the other.
//
// Ownership: has a thread of its own, which is gone with it. Borrows the clock.
// Threads:   one at a time.

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
#include "server/doctor/pair_doors.h"
#include "server/doctor/pair_link.h"
#include "transport/bootstrap_server.h"
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
};

class PairHost : public transport::BootstrapServer::Delegate, public Poller {
 public:
  // Peers connected at a time; the next is sent away.
  static constexpr size_t kPeersMax = 16;

  // Listens when it returns.
  // Errors: those of PairDoors::Open(), Fabric::Listen(), Resolve() and BindSocket();
  //         InvalidArgument - other machines reach `listen`, and there is no secret.
  static absl::StatusOr<std::unique_ptr<PairHost>> Start(PairHostOptions options);
  ~PairHost() override;

  const std::string& address() const { return address_; }
  std::string Names() const { return doors_->networks()->Names(); }

 private:
  explicit PairHost(PairHostOptions options);

  absl::Status Open();
  absl::Status MayEnter() override;
  void OnPeer(transport::ArrivingPeer peer) override;
  void OnOtherPurpose(absl::string_view purpose, ScopedFd stream) override;
  Task<void> Welcome(transport::ArrivingPeer peer);
  bool Poll() override;

  const PairHostOptions options_;
  std::string address_;
  Scheduler scheduler_;
  std::unique_ptr<PairDoors> doors_;
  std::list<std::unique_ptr<PairLink>> links_;
  std::list<SpawnHandle> welcoming_;
  std::unique_ptr<transport::BootstrapServer> bootstrap_;
  std::thread thread_;
};

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_PAIR_HOST_H_

// BootstrapServer: the door of a server. Accepts TCP connections, greets clients, and hands those that
// came back on a fabric with their token to the upper layer. See docs/handshake.md.
//
// Whatever strangers do here costs them their own connection and nothing else: each has
// `handshake_timeout_ns` in all, at most `half_open_max` are in the doorway, and when one more comes,
// the one that has been there longest without proving itself goes (who speaks the protocol is through within
// milliseconds). Proven is who showed the secret or has a token; a newcomer never costs such a one its place,
// and is closed unheard if there are no others.
//
// Threads:    confined to the scheduler's.
// Ownership:  borrows scheduler, listeners and delegate; they outlive it.
// Invariants: a token is good once, and no longer than its half-open connection. With a secret,
//             nobody gets a token, and nobody's stream gets to the delegate, before they proved it.

#ifndef ACRE_TRANSPORT_BOOTSTRAP_SERVER_H_
#define ACRE_TRANSPORT_BOOTSTRAP_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/scheduler.h"
#include "runtime/scoped_fd.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"
#include "transport/bootstrap_wire.h"
#include "transport/fabric.h"
#include "transport/refusal_log.h"
#include "transport/secret_proof.h"
#include "transport/stream.h"

namespace acre::transport {

// A client that has shown its token on a fabric. May be moved to the thread that will own it, which
// completes the handshake with AcceptPeer (transport/bootstrap_peer.h).
struct ArrivingPeer {
  std::unique_ptr<ConnectionRequest> request;
  std::string fabric;  // On which it came: OfferedFabric::name.
  ScopedFd stream;
  uint32_t process_id = 0;
  bool is_control = false;  // ConnectOptions::is_control.
  uint64_t deadline_ns = 0;
};

struct BootstrapServerOptions {
  uint32_t layout_version = 0;  // Clients must have the same.
  uint64_t generation = 0;      // Of this server's incarnation. Never 0.
  uint64_t lease_ns = 0;
  // In its cluster. The number is also in the high bits of the process ids that it gives.
  ServerPlace place;
  // Clients of another view, turned away: counted here, by this thread alone, for any to load. May be null.
  SharedWord* views_refused = nullptr;
  uint64_t handshake_timeout_ns = 3'000'000'000;
  size_t half_open_max = 256;
  // What clients must prove before anything else, and the server proves to them. Null: nothing.
  std::shared_ptr<const Secret> secret;
  // Counts those who are refused. May be null; outlives the BootstrapServer.
  RefusalLog* refusals = nullptr;
  // Fills memory with bytes that nobody can guess. For tokens and nonces.
  std::function<void(absl::Span<uint8_t>)> fill_random;
};

class BootstrapServer {
 public:
  // Takes what comes through the door. Called on the scheduler's thread, never inside a call of the
  // BootstrapServer's own functions.
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // Not OK: the client is sent away with this status before it costs anything.
    virtual absl::Status MayEnter(const Hello& hello) = 0;
    virtual void OnPeer(ArrivingPeer peer) = 0;
    // A connection of another purpose: its first 8 bytes were read, and if there is a secret, it
    // was proved before them. Drops the descriptor if it does not know that purpose.
    virtual void OnOtherPurpose(absl::string_view purpose, ScopedFd stream) = 0;
    // What to answer, in the language of that purpose, to a client that should have proved the
    // secret before. "": nothing, the purpose is unknown.
    virtual std::string RefusalOf(absl::string_view /*purpose*/, const absl::Status& /*why*/) {
      return "";
    }
  };

  struct OfferedFabric {
    std::string name;
    Listener* listener;
  };

  // `listening`: a socket that listens. Serves from the next pass of the scheduler on.
  BootstrapServer(Scheduler* scheduler, BootstrapServerOptions options,
                  std::vector<OfferedFabric> fabrics, ScopedFd listening, Delegate* delegate);
  // Cancels what is half open.
  ~BootstrapServer();
  BootstrapServer(const BootstrapServer&) = delete;
  BootstrapServer& operator=(const BootstrapServer&) = delete;

  size_t half_open_count() const { return half_open_.size(); }

 private:
  class HalfOpen;

  void WatchDoor();
  void OnDoor();
  void OnFabric(const OfferedFabric& fabric);
  Task<void> WatchDoorLater();
  // Closes one, and counts it. False: all who are half open are proven.
  bool MakeRoom();
  // Counts and logs one that was closed unheard.
  void NoteCrowd(absl::string_view peer);

  Task<void> Serve(std::unique_ptr<HalfOpen> half_open);
  Task<void> ServeBootstrap(HalfOpen* half_open);
  Task<void> ServeProven(HalfOpen* half_open);
  Task<void> ServeUnproven(HalfOpen* half_open, std::string purpose);
  Task<void> SendAway(HalfOpen* half_open, absl::Status why);
  Task<absl::Status> Greet(HalfOpen* half_open);
  Task<absl::StatusOr<std::string>> ReadBody(HalfOpen* half_open, BootstrapMessage expected);
  Task<absl::StatusOr<Hello>> ReadHello(HalfOpen* half_open);
  Task<absl::Status> AskForSecret(HalfOpen* half_open, bool has_secret);
  absl::Status Judge(const HalfOpen& half_open, const Hello& hello);
  // Counts and logs who was turned away on a fabric.
  void Note(RefusalReason reason, const OfferedFabric& fabric, absl::string_view peer,
            const absl::Status& why);
  // Counts and logs it, and gives it back.
  absl::Status Refused(const HalfOpen& half_open, RefusalReason reason, absl::Status why);
  absl::StatusOr<uint32_t> ProcessIdFor(const Hello& hello);

  Scheduler* const scheduler_;
  const BootstrapServerOptions options_;
  const std::vector<OfferedFabric> fabrics_;
  const ScopedFd listening_;
  Delegate* const delegate_;

  std::list<HalfOpen*> half_open_;  // The oldest first.
  std::list<SpawnHandle> serving_;  // Their tasks, and some that have ended.
  SpawnHandle reopening_;
  uint32_t process_ids_given_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_BOOTSTRAP_SERVER_H_

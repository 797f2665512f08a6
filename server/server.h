// Server: a whole kv_server in a process: memory, table, threads, the door. server/main.cc runs one;
// tests run several.
//
// Threads of it: `threads` workers (server/worker.h) that serve clients, and one service thread that
// accepts connections, renews the leases of all regions and moves the epoch on, whatever the workers do.
//
// Ownership: owns all that it makes; borrows the clock.
// Threads:   Start, Stop and the destructor on one thread; Stats() on any.

#ifndef ACRE_SERVER_SERVER_H_
#define ACRE_SERVER_SERVER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/cluster.h"
#include "kvs/table.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "server/memory.h"
#include "server/networks.h"
#include "server/state_file.h"
#include "server/termination.h"
#include "server/transaction_service.h"
#include "server/worker.h"
#include "transport/bootstrap_server.h"
#include "transport/fabric.h"
#include "transport/refusal_log.h"
#include "transport/secret.h"
#include "transport/socket.h"

namespace acre::server {

constexpr uint64_t kMemoryBytesMin = uint64_t{16} << 20;
constexpr int kThreadsMax = 256;
// Clients on the fabric at a time. Each may cost a few MiB of rings.
constexpr uint64_t kPeersMax = 4096;
// Sockets of the baseline at once; further ones are closed unread.
constexpr uint64_t kSocketsMax = 10'000;

struct ServerOptions {
  transport::HostPort listen;  // Port 0: a free one.
  // The cluster that `listen` is a server of. Empty: none, a server alone.
  kvs::ClusterMap cluster;
  // Networks that clients may come on: "shm", "verbs", "tcp", each at most once, the favourite first. tcp has
  // a port of its own at the address of `listen`. {"auto"}: shm, tcp, and verbs if there is a card and `listen`
  // is reached from other machines.
  std::vector<std::string> fabrics = {"auto"};
  // The card of verbs: transport::ProviderOptions.
  std::string device;
  uint32_t threads_per_qp = 1;  // Of verbs: likewise.
  int threads = 1;
  // The CPU of each of the threads that serve clients, in turn. Empty: where the kernel puts them.
  std::vector<int> cpus;
  uint64_t memory_bytes = uint64_t{2} << 30;
  uint64_t region_bytes_max = kDataRegionBytesMax;  // PlanRegions() in server/memory.h.
  int index_percent = kvs::TableOptions().index_percent;
  transport::HugePages huge_pages = transport::HugePages::kAuto;
  PollMode poll = PollMode::kAdaptive;
  int64_t lease_ms = 500;
  // Clients may write records by themselves, one-sided (server/lock_home.h), on the fabric that makes the memory.
  bool trust = false;
  bool death_marks = true;  // false: readers rely on leases, as on kernels without robust futexes.
  std::string state_dir;    // "": see server/state_file.h.
  // Proved by all clients, and to them. Null: there is none, and the server listens on loopback
  // only.
  std::shared_ptr<const transport::Secret> secret;

  Clock* clock = nullptr;  // Required.
  // The wall clock in ns, for tokens of locks (server/named_locks.h). Required.
  std::function<uint64_t()> wall_ns;
  // Fills memory with bytes that nobody can guess. Required.
  std::function<void(absl::Span<uint8_t>)> fill_random;
  // One line for people: what takes long, what could be better. May be null.
  std::function<void(absl::string_view)> say;
  // Asked now and then while Start() takes long: true makes it give up with Cancelled. May be null.
  std::function<bool()> stop_requested;
};

class Server {
 public:
  // Serves when it returns. Every error is one line that says what to do:
  // InvalidArgument - an option. AlreadyExists - the port is in use. PermissionDenied. Unavailable - no such
  // host. ResourceExhausted - not enough memory, or huge pages. Cancelled - ServerOptions::stop_requested.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options);
  // Stops as after Stop(), if that was not called; what fails then is lost.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Sends all clients away, closes the regions, and writes down that this was a clean stop.
  absl::Status Stop();

  std::string address() const { return address_; }  // Numeric HOST:PORT.
  // What it really got: fabric, memory, pages, threads, cores. One line for people.
  std::string Description() const;
  // "name value" lines.
  std::string Stats() const;

 private:
  class Door;

  explicit Server(ServerOptions options);
  absl::Status MakeLockHome();
  absl::Status CheckOptions();
  absl::Status FindPlace();
  std::string ClusterAnswer() const;
  absl::Status Bind();
  absl::Status OpenStateFile();
  absl::Status MakeMemory();
  absl::Status OpenNetworks();
  absl::Status MakeRegions();
  std::vector<transport::MemoryRegion*> Regions() const;
  void MakeTransactions();
  absl::Status StartWorkers();
  absl::Status MakeTermination();
  absl::Status WaitOutLease();
  absl::Status OpenDoor();
  // Whether readers rely on the lease, since the kernel does not mark our death.
  bool HasLease() const;
  uint32_t NextRegionId();
  void AppendWorkerStats(std::string* text) const;
  void Say(absl::string_view line) const;

  const ServerOptions options_;
  uint64_t generation_ = 0;
  std::string address_;
  transport::ServerPlace place_;
  std::string boot_id_;
  uint64_t listen_not_before_ns_ = 0;
  std::atomic<uint32_t> region_ids_given_{0};  // Relaxed: only unique.
  SharedWord views_refused_;                   // At the door. Stored by the service thread.
  ScopedFd listening_;
  std::unique_ptr<StateFile> state_file_;
  std::string listen_host_;   // Numeric.
  bool is_loopback_ = false;  // Only this machine reaches it.
  absl::optional<Networks> networks_;
  std::vector<std::unique_ptr<transport::MemoryRegion>> regions_;
  std::unique_ptr<kvs::Table> table_;
  std::unique_ptr<NamedLocks> named_locks_;
  transport::RefusalLog refusals_;                    // Noted on the service thread.
  std::unique_ptr<TransactionService> transactions_;  // Goes after the workers.
  std::unique_ptr<Termination> termination_;          // Of a cluster.
  std::vector<std::unique_ptr<Worker>> workers_;
  Scheduler scheduler_;  // Of the service thread.
  std::unique_ptr<LockHome>
      lock_home_;  // With trust. Confined to the service thread; goes after the workers.
  std::unique_ptr<Door> door_;
  std::unique_ptr<transport::BootstrapServer> bootstrap_;
  std::thread service_thread_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_SERVER_H_

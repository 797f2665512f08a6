// HomeLinks: the other servers of the cluster, as the termination of transactions asks them (server/transaction_ends.h):
// by calls over the network, as one of their clients.
//
// A connection is made when a server is first asked, and goes when it was not used for long. A server that could not be
// reached is left alone for a while, at most a second, then one question tries again; all others fail at once.
//
// Threads:   confined to its scheduler's.
// Ownership: borrows the scheduler. Goes after whoever asks, on the scheduler's thread or when that runs no more.

#ifndef ACRE_SERVER_HOME_LINKS_H_
#define ACRE_SERVER_HOME_LINKS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client_core.h"
#include "client/fabric_set.h"
#include "kvs/cluster.h"
#include "kvs/transaction_id.h"
#include "kvs/wire.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "server/called_homes.h"
#include "transport/secret_proof.h"

namespace acre::server {

class HomeLinks final : public CalledHomes {
 public:
  struct Options {
    Scheduler* scheduler = nullptr;
    // A participant's server_index is an index in its servers.
    kvs::ClusterMap cluster;
    uint32_t self_index = 0;
    transport::Credentials credentials;
    // As ClientOptions'.
    std::string fabric = "auto";
    std::string device = {};
    // For each question, connecting included. The other one may have to close a connection before it answers.
    int64_t ask_timeout_ms = 2'000;
    uint64_t idle_ns = 60'000'000'000;
  };
  // Connects to nobody yet. Errors: those of FabricSet::Create().
  static absl::StatusOr<std::unique_ptr<HomeLinks>> Create(Options options);
  ~HomeLinks() override;

  std::string NameOf(const kvs::TransactionParticipant& participant) const override;

  // Servers to which there is a link, connected or not.
  size_t links_count() const;

 private:
  struct Link {
    std::unique_ptr<ClientCore> core;
    uint64_t last_used_ns = 0;
    uint64_t distance_ns = 0;  // Between the last two attempts, if they failed.
    uint64_t silent_until_ns = 0;
    bool is_tried = false;  // Somebody connects after that: one is enough to find out.
    absl::Status silence;   // Why nobody asks till then.
  };

  HomeLinks(Options options, std::unique_ptr<FabricSet> fabrics);
  // Made if need be.
  std::shared_ptr<Link> LinkTo(uint32_t index);
  Task<absl::Status> Ask(const kvs::TransactionParticipant& participant, kvs::Method method,
                         const std::string& request, std::string* response,
                         bool* answered) override;
  // The server's generation. `link` outlives the task.
  Task<absl::StatusOr<uint64_t>> Connect(Link* link, uint64_t deadline_ns);
  void NoteSilence(Link* link, const absl::Status& why);
  Task<void> DropIdle();

  const Options options_;
  Scheduler* const scheduler_;
  const std::unique_ptr<FabricSet> fabrics_;  // Before all that holds cores: it goes after them.
  ProcessName name_;
  std::vector<std::shared_ptr<Link>> links_;  // By server_index. Null: there is none now.
  SpawnHandle dropping_;                      // While there are links.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_HOME_LINKS_H_

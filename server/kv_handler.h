// KvHandler: the store as clients ask for it, by RPC (kvs/wire.h) and by socket (kvs/socket_wire.h).
// One for each worker thread.
//
// Threads:   confined to the worker's, but for the counters.
// Ownership: borrows the writer; owns its counters.

#ifndef ACRE_SERVER_KV_HANDLER_H_
#define ACRE_SERVER_KV_HANDLER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "kvs/table.h"
#include "kvs/wire.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"
#include "server/socket_server.h"
#include "server/view_check.h"
#include "transport/rpc.h"

namespace acre::server {

// What entered the server, counted when it is done, whatever came of it. Gets on the paths `mapped` and
// `one_sided` never enter it: tests read that here.
//
// The worker alone stores them; any thread may load them and sees a value that each had.
struct OperationCounters {
  SharedWord gets_rpc;  // A MultiGet counts each of its keys.
  SharedWord gets_socket;
  SharedWord puts_rpc;
  SharedWord puts_socket;
  SharedWord deletes_rpc;
  SharedWord deletes_socket;
  SharedWord views_refused;  // Requests of clients of another view.
};

// What the server is to its cluster, and what it tells of it.
struct ClusterFacts {
  uint64_t view = 0;
  std::string answer;  // To kCluster: kvs::ClusterAnswer as bytes.
};

class KvHandler : public transport::RpcHandler, public SocketService {
 public:
  // `stats`: the text of kStats.
  KvHandler(kvs::TableWriter* writer, OperationCounters* counters,
            std::function<std::string()> stats, ClusterFacts cluster = {});

  // InvalidArgument: bytes that make no sense. Unimplemented: no such method. OutOfRange: a request in a frame
  // of another view, or for a key that is another server's.
  Task<absl::Status> Handle(transport::RpcContext* context) override;

  [[nodiscard]] bool GetAtOnce(absl::string_view key, std::string* value,
                               absl::Status* status) override;
  Task<absl::Status> Get(absl::string_view key, std::string* value) override;
  Task<absl::Status> Put(absl::string_view key, absl::string_view value) override;
  Task<absl::Status> Delete(absl::string_view key) override;
  std::string Stats() override { return stats_(); }
  absl::Status Cluster(uint64_t view, std::string* answer) override;

 private:
  // As much as can be done without waiting: an empty task, and *status is the answer; else the task is the rest.
  Task<absl::Status> MultiGet(transport::RpcContext* context, absl::Status* status);
  // From `keys[next]` on, which has to wait.
  Task<absl::Status> MultiGetOn(std::vector<absl::string_view> keys, size_t next,
                                kvs::MultiGetResponse response);

  kvs::TableWriter* const writer_;
  OperationCounters* const counters_;
  const std::function<std::string()> stats_;
  const ClusterFacts cluster_;
  const ViewCheck check_view_;
  std::string value_;  // Of the Get being answered; its memory is reused.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_KV_HANDLER_H_

// Backend: one connection to a server, by one path. What ClientCore makes anew when it breaks.
//
// Threads:    the scheduler's.
// Ownership:  shared by the ClientCore and the operations under way on it.
// Errors:     those of client/client.h, in the words of whoever found out: ClientCore adds the server's
//             name and what to do. OutOfRange too: the key is another server's, or the server is of another
//             view than it was. Keys and values are within kvs/limits.h.

#ifndef ACRE_CLIENT_BACKEND_H_
#define ACRE_CLIENT_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/client.h"
#include "kvs/cluster.h"
#include "kvs/mapped_reader.h"
#include "kvs/reader.h"
#include "kvs/remote_reader.h"
#include "kvs/transaction_link.h"
#include "kvs/wire.h"
#include "kvs/writer_stats.h"
#include "runtime/task.h"

namespace acre {

class Backend {
 public:
  virtual ~Backend() = default;

  // OK, or why it broke: it never heals.
  virtual absl::Status status() const = 0;

  // Arguments outlive the tasks. DeadlineExceeded at deadline_ns (the scheduler's clock).
  virtual Task<absl::Status> Get(absl::string_view key, std::string* value,
                                 uint64_t deadline_ns) = 0;
  virtual Task<absl::Status> Put(absl::string_view key, absl::string_view value,
                                 uint64_t deadline_ns) = 0;
  virtual Task<absl::Status> Delete(absl::string_view key, uint64_t deadline_ns) = 0;
  virtual Task<void> MultiGet(absl::Span<const absl::string_view> keys,
                              absl::Span<std::string> values, absl::Span<absl::Status> statuses,
                              uint64_t deadline_ns) = 0;
  virtual Task<absl::StatusOr<std::string>> Stats(uint64_t deadline_ns) = 0;
  // As the calls of kvs/wire.h. Where there are none: Unimplemented. A Lock() that is given up, or whose deadline
  // passes, is taken back at the server.
  virtual Task<absl::StatusOr<uint64_t>> Lock(absl::string_view name, uint64_t ticket,
                                              uint64_t wait_ns, uint64_t deadline_ns);
  virtual Task<absl::Status> Unlock(uint64_t ticket, uint64_t deadline_ns);
  virtual Task<absl::StatusOr<std::string>> Locks(uint64_t deadline_ns);
  virtual Task<absl::Status> ForceUnlock(absl::string_view name, uint64_t token,
                                         uint64_t deadline_ns);
  // Any call of kvs/wire.h, as it is: the request in one piece. Where there are none: Unimplemented.
  virtual Task<absl::Status> Call(kvs::Method method, absl::string_view request,
                                  std::string* response, uint64_t deadline_ns);
  // Null on paths that read no memory of the server.
  virtual kvs::TransactionLink* transactions() { return nullptr; }
  // What the server tells of its cluster.
  virtual Task<absl::StatusOr<kvs::ClusterAnswer>> Cluster(uint64_t deadline_ns) = 0;

  // Of the server's incarnation. 0: this path is not told.
  virtual uint64_t generation() const { return 0; }
  virtual Path path() const = 0;
  virtual std::string fabric() const = 0;
  virtual kvs::ReaderStats reader_stats() const { return {}; }
  virtual kvs::WriterStats writer_stats() const { return {}; }
  virtual transport::VerbCounters verbs() const { return {}; }

  // The reader of this path, for calls past the virtual ones; null on the other paths.
  kvs::MappedReader* mapped_reader() const { return mapped_reader_.get(); }
  kvs::RemoteReader* remote_reader() const { return remote_reader_.get(); }

 protected:
  std::unique_ptr<kvs::MappedReader> mapped_reader_;
  std::unique_ptr<kvs::RemoteReader> remote_reader_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_BACKEND_H_

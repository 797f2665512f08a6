// Client: Get, Put, Delete and MultiGet on a running kv_server, or on a cluster of them (docs/cluster.md).
//
// Keys are 1 B to 4 KiB, values up to 1 MiB, both any bytes. Every call is linearizable: a Get that
// starts after a Put returned sees it, whatever paths the two took.
//
// Errors, the same for all calls, each with a message that says what to do:
//   InvalidArgument    a key or value out of the limits. Nothing was sent.
//   NotFound           no such record (Get, Delete).
//   ResourceExhausted  the server has no memory for the record (Put); the old record stands.
//   Unavailable        the key's server is gone or restarting. A Put or Delete may or may not have
//                      happened; a Get never returns data of a server that is gone. The client
//                      reconnects by itself: try again. Also: servers have different cluster files;
//                      nothing happened then.
//   DeadlineExceeded   no answer within operation_timeout_ms; as Unavailable.
//   PermissionDenied   the secret: the server asks for one, has another, or could not prove its own.
//   FailedPrecondition the server has no secret to prove, is of another release, or the cluster is set up
//                      wrongly: an address leads to another server than its cluster file says. As with
//                      PermissionDenied, what helps is other options or another server, not trying
//                      again.
//
// Locks by name (docs/locks.md): a lock is held for a connection of this client to the name's server, so a client
// that dies, or whose connection breaks, holds none any more. Whoever guards something with a lock passes the
// lock's token along.
//
// Threads: a Client is used by one thread at a time; make one per thread, they are cheap.

#ifndef ACRE_CLIENT_CLIENT_H_
#define ACRE_CLIENT_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "client/transaction.h"
#include "kvs/reader.h"
#include "kvs/writer_stats.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/fabric.h"

namespace acre {

// How a Get travels. Put and Delete go by RPC on all of them but kTcp.
enum class Path {
  kAuto,      // The best that reaches the server: mapped, one_sided.
  kMapped,    // Parsed in place in the server's memory, mapped into this process (fabric shm only).
  kOneSided,  // READ into memory of this process, parsed from the copy.
  kRpc,       // Asked of a server thread, through a ring.
  kTcp,       // Asked of a server thread, through a socket: the baseline.
};
// "auto", "mapped", "one_sided", "rpc", "tcp".
absl::StatusOr<Path> ParsePath(absl::string_view name);
const char* PathName(Path path);

// How a Put travels. Inserts, and records that do not lie inline in the server's index (longer than 48 bytes, or in a
// chain), go by RPC on all of them.
enum class PutPath {
  // RPC; and where the server trusts its clients (kv_server --trust) and is another machine, one-sided instead as long as
  // that is what takes less time.
  kAuto,
  kRpc,  // Asked of a server thread, through a ring.
  // Written by this process into the server's memory, under the record's lock, without the server's CPU: docs/updates.md.
  // An error (FailedPrecondition, PermissionDenied) where the server does not let us.
  // On fabric shm the server kills a process that disappears or stands still in the middle of this, since nothing else
  // would keep it from writing on: a blocking Client is never in the middle of it between its calls, and of an
  // AsyncClient the scheduler must be run until its Puts have ended.
  kOneSided,
};
// "auto", "rpc", "one_sided".
absl::StatusOr<PutPath> ParsePutPath(absl::string_view name);
const char* PutPathName(PutPath path);

struct ClientOptions {
  // HOST:PORT of the server; of a cluster, any of its servers, better several: one that answers tells of
  // all others.
  std::vector<std::string> servers;
  // "shm": on the server's machine. "verbs": through RDMA cards. "tcp": anywhere. "auto": the first of them that
  // is there and reaches the server. Asking for one that is not there, here or at the server, is an error
  // (FailedPrecondition), never a reason to take another.
  std::string fabric = "auto";
  // The card of verbs: its name ("mlx5_0"), or an address of this machine that is on it. "": the first with a
  // link.
  std::string device = "";
  // How many threads of this process, each with a Client, share a queue pair of the card to a server; 1: none do.
  // Thousands of queue pairs thrash a card's cache, so large clusters want fewer; threads that share one wait for
  // each other now and then. All of them name the same device and number. verbs only; 1 to 32.
  uint32_t threads_per_qp = 1;
  // File with the secret that client and server prove to each other; it is read once, by Connect(),
  // which refuses a file that others may read (InvalidArgument). With it, a server that cannot
  // prove the same secret is refused. "": no secret.
  std::string secret_file;
  Path path = Path::kAuto;
  PutPath put_path = PutPath::kAuto;  // Not used on Path::kTcp.
  PollMode poll = PollMode::kAdaptive;
  int64_t connect_timeout_ms = 5000;
  int64_t operation_timeout_ms = 5000;
};

// A lock that was taken by name. It stays taken when this goes: Unlock() gives it back.
struct NamedLock {
  std::string name;
  // Above that of every earlier holder of the lock: what the lock guards can refuse one that is below the highest
  // it has seen, and so one who lost the lock without knowing.
  uint64_t token = 0;
  uint64_t ticket = 0;  // The client's own.
};
constexpr int64_t kNoTimeout = INT64_MAX;

// Blocking and coroutine forms of the same connection.
class AsyncClient {
 public:
  // `scheduler` drives the client and outlives it; all calls are made on its thread.
  static Task<absl::StatusOr<std::unique_ptr<AsyncClient>>> Connect(Scheduler* scheduler,
                                                                    ClientOptions options);
  virtual ~AsyncClient() = default;

  // Arguments outlive the task. *value is replaced, its memory reused.
  virtual Task<absl::Status> Get(absl::string_view key, std::string* value) = 0;
  virtual Task<absl::Status> Put(absl::string_view key, absl::string_view value) = 0;
  virtual Task<absl::Status> Delete(absl::string_view key) = 0;
  // The three spans have the same size and outlive the task.
  virtual Task<void> MultiGet(absl::Span<const absl::string_view> keys,
                              absl::Span<std::string> values,
                              absl::Span<absl::Status> statuses) = 0;
  // Waits for the lock, at most `timeout_ms` from when its server has heard of it. First come, first served.
  // Errors: as Put, with DeadlineExceeded - others had it all the time. Unimplemented: on Path::kTcp.
  virtual Task<absl::StatusOr<NamedLock>> Lock(absl::string_view name,
                                               int64_t timeout_ms = kNoTimeout) = 0;
  // Takes it if it is free; nullopt: it is not.
  virtual Task<absl::StatusOr<absl::optional<NamedLock>>> TryLock(absl::string_view name) = 0;
  // `lock` outlives the task. FailedPrecondition: it was lost: the connection broke since it was taken, or it was
  // forced open. Somebody else may have it. Unavailable: the connection has just broken; the lock is lost, too.
  // DeadlineExceeded: no answer: it may still be held, call again (which says FailedPrecondition if it was not).
  virtual Task<absl::Status> Unlock(const NamedLock& lock) = 0;
  // A server's locks, their holders and who waits for them, as text (docs/locks.md). `server`: as ServerStats.
  virtual Task<absl::StatusOr<std::string>> Locks(std::string server = "") = 0;
  // Opens a lock whose holder has this token, whether it lives or not: for operators. Its holder learns it from
  // Unlock(). NotFound: nobody holds it. FailedPrecondition: somebody else does by now.
  virtual Task<absl::Status> ForceUnlock(absl::string_view name, uint64_t token) = 0;
  // Transactions: client/transaction.h. Not on Path::kRpc and kTcp.
  virtual std::unique_ptr<AsyncTransaction> Begin() = 0;
  // Runs `function`, which outlives the task, and commits; again, after a while, when that is Aborted.
  // Errors: the function's; DeadlineExceeded - others got in the way all the time; Unavailable - the outcome of the
  // last commit is unknown (RunOptions::result tells), or as the other calls.
  virtual Task<absl::Status> RunTransaction(const AsyncTransactionFunction& function,
                                            RunOptions options = {}) = 0;
  virtual TransactionStats transaction_stats() const = 0;
  // What transactions hold locks at a server, and what they wait for, as text (docs/transactions.md). `server`: as
  // ServerStats.
  virtual Task<absl::StatusOr<std::string>> Transactions(std::string server = "") = 0;
  // Ends a transaction at all servers that answer, whatever others may have done with it: for operators. `id`: as
  // Transactions() shows it. NotFound: none of those that answer has it open. FailedPrecondition: its coordinator is
  // connected, or a server knows that it ended the other way: servers after that one were not told. Unavailable: as
  // NotFound, but some did not answer. InvalidArgument: no such id.
  virtual Task<absl::Status> EndTransaction(std::string id, bool commit) = 0;
  // Counters and facts of a server, as "name value" lines. `server`: its HOST:PORT as Servers() has it; ""
  // with a single server. InvalidArgument: it is none of the cluster.
  virtual Task<absl::StatusOr<std::string>> ServerStats(std::string server = "") = 0;
  // The servers' addresses, in the order of their numbers: what the client goes by just now.
  virtual std::vector<std::string> Servers() const = 0;

  virtual Path path() const = 0;           // What was picked for the first server.
  virtual std::string fabric() const = 0;  // "shm", "verbs", "tcp"; "socket" on Path::kTcp.
  virtual kvs::ReaderStats reader_stats() const = 0;  // Zeros on kRpc and kTcp.
  virtual kvs::WriterStats writer_stats() const = 0;  // Of Puts that went one-sided.
  // What the queue pairs of this client's connections were asked to do; round trips are READs and calls that
  // were waited for. Without what was still under way on a connection that broke, and attempts to connect that
  // failed. A server's answers are its own verbs. Zeros on kTcp.
  virtual transport::VerbCounters verbs() const = 0;
};

class Client {
 public:
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);
  ~Client();

  absl::StatusOr<std::string> Get(absl::string_view key);
  absl::Status Get(absl::string_view key, std::string* value);  // Reuses the caller's memory.
  absl::Status Put(absl::string_view key, absl::string_view value);
  absl::Status Delete(absl::string_view key);
  std::vector<absl::StatusOr<std::string>> MultiGet(absl::Span<const absl::string_view> keys);
  void MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                absl::Span<absl::Status> statuses);
  absl::StatusOr<NamedLock> Lock(absl::string_view name, int64_t timeout_ms = kNoTimeout);
  absl::StatusOr<absl::optional<NamedLock>> TryLock(absl::string_view name);
  absl::Status Unlock(const NamedLock& lock);
  absl::StatusOr<std::string> Locks(std::string server = "");
  absl::Status ForceUnlock(absl::string_view name, uint64_t token);
  Transaction Begin();
  absl::Status RunTransaction(const TransactionFunction& function, RunOptions options = {});
  TransactionStats transaction_stats() const;
  absl::StatusOr<std::string> Transactions(std::string server = "");
  absl::Status EndTransaction(std::string id, bool commit);
  absl::StatusOr<std::string> ServerStats(std::string server = "");
  std::vector<std::string> Servers() const;

  Path path() const;
  std::string fabric() const;
  kvs::ReaderStats reader_stats() const;
  kvs::WriterStats writer_stats() const;
  transport::VerbCounters verbs() const;

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_CLIENT_H_

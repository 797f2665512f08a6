// TransactionLink: the way from a coordinator of transactions to one home: READs of its memory, validations, calls,
// notices. It lasts as long as the connection: a home that is connected to anew is another link.
//
// Threads:   the scheduler's.
// Ownership: borrows what it is made of. Operations end before it goes.

#ifndef ACRE_KVS_TRANSACTION_LINK_H_
#define ACRE_KVS_TRANSACTION_LINK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/mapped_reader.h"
#include "kvs/read_mark.h"
#include "kvs/remote_reader.h"
#include "kvs/transaction_id.h"
#include "kvs/wire.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/rpc.h"

namespace acre::kvs {

class TransactionLink {
 public:
  // One of the readers is null.
  TransactionLink(Scheduler* scheduler, transport::RpcPeer* rpc, MappedReader* mapped,
                  RemoteReader* remote, const TransactionParticipant& home)
      : scheduler_(scheduler), rpc_(rpc), mapped_(mapped), remote_(remote), home_(home) {}
  TransactionLink(const TransactionLink&) = delete;
  TransactionLink& operator=(const TransactionLink&) = delete;

  const TransactionParticipant& home() const { return home_; }

  // Reads and validates without waiting for anybody else: by loads.
  bool is_mapped() const { return mapped_ != nullptr; }

  // Each get's status: kvs/reader.h. Unavailable where a record stays locked for longer than a commit takes.
  Task<void> Read(absl::Span<MarkedGet> gets, uint64_t deadline_ns);
  // The same without a task. False: some record is locked: Read() them all. Requires is_mapped().
  [[nodiscard]] bool ReadNow(absl::Span<MarkedGet> gets);
  // OK: *changed is the first of the marks that stands no more, or nullopt. Others: kvs/reader.h.
  Task<absl::Status> Validate(absl::Span<const ReadMark> marks, absl::optional<size_t>* changed,
                              uint64_t deadline_ns);
  absl::Status ValidateNow(absl::Span<const ReadMark> marks, absl::optional<size_t>* changed);
  // The word that tells of misses in a key's home bucket: ReadMark.
  GlobalAddress StructureWord(uint64_t hash) const;

  // DeadlineExceeded at deadline_ns: it may or may not have happened.
  Task<absl::Status> Call(Method method, absl::string_view request, std::string* response,
                          uint64_t deadline_ns);
  // Room for one notice, so that it need not wait for the home to make some. Waits for it till deadline_ns.
  using Room = transport::NoticeRoom;
  Task<absl::Status> Reserve(Room* room, uint64_t deadline_ns);
  // OK: the home will take it, whatever becomes of the connection. Unavailable: it may or may not.
  Task<absl::Status> Notify(Method method, Room room, std::string notice);
  // The same when the ring has room.
  Task<absl::Status> Notify(Method method, std::string notice);

 private:
  Scheduler* const scheduler_;
  transport::RpcPeer* const rpc_;
  MappedReader* const mapped_;
  RemoteReader* const remote_;
  const TransactionParticipant home_;
};

// How a coordinator finds homes.
class TransactionHomes {
 public:
  virtual ~TransactionHomes() = default;

  virtual uint64_t view() const = 0;
  // Of this coordinator's process. Known once there is a link.
  virtual uint32_t process_id() const = 0;
  // That nobody who has the same process id has had: at random.
  virtual uint32_t NewThreadNumber() = 0;
  // How many servers there are, by the index of which Link() goes: those of the view.
  virtual size_t servers_count() const = 0;
  // The link that there is, or null.
  virtual std::shared_ptr<TransactionLink> LinkNow(size_t server) = 0;
  // Connects if need be. Unavailable, DeadlineExceeded and others: with all that a user needs to know.
  virtual Task<absl::StatusOr<std::shared_ptr<TransactionLink>>> Link(size_t server,
                                                                      uint64_t deadline_ns) = 0;
  // Some home would have nothing to do with us: that is, goes by another view, perhaps. Asks.
  virtual Task<void> Refresh(uint64_t deadline_ns) = 0;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_LINK_H_

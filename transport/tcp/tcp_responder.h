// TcpResponder: what a network card does at the target: takes a peer's requests out of a stream of bytes,
// judges each, executes it on the memory that was granted to that peer, and answers.
//
// No sockets here: bytes in, bytes out, so that a fuzzer can drive it.
//
// Order (F1 to F5 of fabric.h): one thread executes all requests of a connection one after the other, so
// every fence is kept without looking at it. What a CPU could still reorder is a WRITE's stores behind a
// later READ's loads; there a barrier stands between them (F3).
//
// Ownership:  borrows the receive queue, which outlives it.
// Threads:    one at a time: TcpEngine's mutex.
// Invariants: a request that is refused touched nothing (but for one whose region closes in its middle).
// Limits:     holds no bytes: what it cannot do now stays in the caller's input.

#ifndef ACRE_TRANSPORT_TCP_TCP_RESPONDER_H_
#define ACRE_TRANSPORT_TCP_TCP_RESPONDER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/shared_word.h"
#include "transport/fabric.h"
#include "transport/region_lease.h"
#include "transport/tcp/tcp_buffer.h"
#include "transport/tcp/tcp_receive_queue.h"
#include "transport/tcp/tcp_wire.h"

namespace acre::transport {

// A region as peers reach it. Guarded by TcpEngine's mutex, once it was granted.
struct TcpExport {
  SharedWord* words = nullptr;  // Null: the region has gone.
  size_t size_bytes = 0;
  RegionLease lease;
  bool is_foreign = false;  // Another provider's memory: no atomics (A3).
};

class TcpResponder {
 public:
  struct Options {
    Atomicity atomicity = Atomicity::kGlobal;
    bool is_same_domain = true;  // The peer's atomic domain is ours.
  };
  enum class Outcome : uint8_t {
    kNoInput,  // All that could be done was; the rest of the input is the beginning of something.
    kNoRoom,   // The output is full: run again when there is room.
    kStalled,  // A WRITE_WITH_IMM found the receive queue full: run again when something was polled.
    kRefused,  // A request failed: the answer says so. Never run again.
    kGarbage,  // The bytes make no sense: why_garbage(). Never run again.
  };

  TcpResponder(const Options& options, TcpReceiveQueue* receives)
      : options_(options), receives_(receives) {}

  // Kept by the connection: the same region with the same rights has one key.
  // ResourceExhausted: too many.
  absl::StatusOr<RemoteKey> Grant(std::shared_ptr<const TcpExport> region, uint32_t rights);

  // Executes what `input` has. *received: whether something went to the receive queue.
  // Requires: output->room_bytes() >= kRoomBytesMin, or nothing happens (kNoRoom).
  Outcome Run(TcpInput* input, TcpOutput* output, bool* received);

  void set_foreign_domain() { options_.is_same_domain = false; }
  // A READ is answered in part: the rest needs room, and no input.
  bool is_answering() const { return read_left_bytes_ > 0; }
  // The last Run() wrote: a message, as a rule, for a thread of this process.
  bool has_written() const { return has_written_; }
  absl::string_view why_garbage() const { return why_garbage_; }
  // Of a request that was refused.
  CompletionStatus refused_with() const { return refused_with_; }

  // Acks that wait, the head of an answer, and a part of a READ that is worth its head.
  static constexpr size_t kReadPartBytesMin = 4096;
  static constexpr size_t kRoomBytesMin = 2 * sizeof(TcpResponseWire) + kReadPartBytesMin;

 private:
  struct Made {
    RemoteKey key;
    uint32_t rights;
    std::shared_ptr<const TcpExport> region;
  };
  enum class Step : uint8_t { kDone, kNoInput, kNoRoom, kStalled, kRefused, kGarbage };

  Step Start(TcpInput* input, TcpOutput* output);
  Step StartAtomic(const TcpRequestWire& wire, TcpInput* input, TcpOutput* output);
  Step ContinueRead(TcpOutput* output);
  Step ContinueWrite(TcpInput* input, TcpOutput* output);
  void FinishWrite();
  Step Garbage(absl::string_view why);
  Step Refuse(CompletionStatus status, TcpOutput* output);
  void Ack() { ++acks_; }
  void FlushAcks(TcpOutput* output);
  // Whether `length_bytes` at the current request's place may be used now.
  CompletionStatus Resolve(const TcpRequestWire& wire, const TcpExport** region) const;
  void Prefetch(const TcpInput& input) const;
  uint64_t ExecuteAtomic(const TcpRequestWire& wire, const TcpAtomicWire& atomic, SharedWord* word);

  Options options_;
  TcpReceiveQueue* const receives_;
  std::vector<Made> grants_;

  TcpRequestWire current_ = {};   // Of the READ or WRITE under way.
  uint32_t read_left_bytes_ = 0;  // Not both.
  uint32_t write_left_bytes_ = 0;
  uint32_t acks_ = 0;                  // Not in the output yet. Zero between two Run()s.
  bool has_unordered_stores_ = false;  // Since the last barrier.
  bool has_received_ = false;
  bool has_written_ = false;
  uint32_t hca_atomics_ = 0;
  absl::string_view why_garbage_;
  CompletionStatus refused_with_ = CompletionStatus::kOk;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_RESPONDER_H_

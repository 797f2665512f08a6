// Fabric: the one-sided memory network, with the semantics of an InfiniBand Reliable Connection.
//
// A process opens a Fabric (a provider on a device), makes memory regions, connects queue pairs to
// peers and posts work requests that read, write and change the peer's memory without the peer's
// CPU. What a completion promises, and what it does not, stands here once for all providers (shm,
// tcp, verbs, sim), and //transport/conformance:conformance_test holds each of them to it. Nothing else may be
// assumed: a protocol that needs more than this text is wrong on some network, however well it runs
// on another.
//
// Order and visibility ("earlier", "later": by place in Post() calls on one queue pair):
//  F1. Requests on one queue pair start in order at the target; completions are polled in order.
//  F2. WRITE or atomic, then anything: the later request sees the earlier one's effect.
//  F3. WRITE or atomic, then READ: the earlier one is visible to every CPU of the target's node
//      before the READ samples anything (a full fence: Peterson's algorithm across a fabric rests
//      on it).
//  F4. READ, then WRITE or atomic: NOT ordered, unless the later one has `fence` set.
//  F5. READ then READ: memory may be sampled in either order, also lines within one READ.
//  F6. Across queue pairs: nothing, until a completion was polled.
//  F7. A READ or WRITE is atomic in aligned 8-byte words, no further. Lines of one request may be
//      sampled, or land, in any order, and the words of one line in ascending or descending order.
//  F8. The completion of a WRITE says that the target took it; whoever reads through this fabric
//      after that sees it, a CPU of the target may see it a moment later. The completion of a READ
//      or atomic says that the local buffer holds the result.
//  F9. Unsignaled requests complete silently. A later signaled completion on the queue pair
//      confirms them, and until that is polled they keep their places in the send queue.
// Atomics:
//  A1. COMPARE_SWAP and FETCH_ADD take 8 aligned bytes, and are atomic against other fabric atomics
//      on the same region, all of which come through one atomic domain (one provider and device).
//  A2. With Atomicity::kHca they are not atomic against a CPU's read-modify-writes and stores, nor
//      against WRITEs; a COMPARE_SWAP that fails may write the old value back and so undo a store
//      or a WRITE that came between. CPU loads and READs of the word are always fine. Acre assumes
//      kHca everywhere.
//  A3. On a region of another atomic domain they complete with kAtomicDomain.
// Errors:
//  E1. A request out of the region's bounds, misaligned, with a key that is unknown, stale or lacks
//      the right: an error completion (also when unsignaled), the target's memory untouched.
//  E2. After any error completion the queue pair is broken, on both sides: what was posted behind
//      completes with kFlushed, what was in flight before may or may not have happened. It never
//      heals: make a new one.
//  E3. When the peer goes (killed, closed, unreachable) the queue pair breaks by itself. However it
//      broke, its completion queue reports kDisconnected once, behind all that was outstanding, also
//      with nothing outstanding, and an armed queue wakes.
//  E4. Peers' bytes are judged, never trusted: no peer can crash this process, only break its
//      connection.
//
// Threads:   a Fabric and its regions may be used by any thread. A CompletionQueue and all queue
//            pairs made with it belong to one thread at a time. Listeners too.
// Ownership: everything is returned by unique_ptr. Queue pairs go before their completion queue,
//            regions after every queue pair that may still use them, the Fabric last; providers
//            CHECK this where they can.

#ifndef ACRE_TRANSPORT_FABRIC_H_
#define ACRE_TRANSPORT_FABRIC_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "runtime/mutex.h"
#include "runtime/shared_word.h"

namespace acre::transport {

// Whether fabric atomics are atomic against a CPU's own (A2).
enum class Atomicity : uint8_t { kHca, kGlobal };

// What a peer may do with a region. A remote key carries exactly one set of rights.
enum Rights : uint32_t {
  kRightRead = 1,
  kRightWrite = 2,
  kRightAtomic = 4,
};
constexpr uint32_t kRightsAll = kRightRead | kRightWrite | kRightAtomic;

enum class HugePages : uint8_t { kAuto, k1G, k2M, kOff };

// Names a region and a set of rights at the peer that granted it. Opaque; never 0.
struct RemoteKey {
  uint64_t bits = 0;
  friend constexpr bool operator==(RemoteKey, RemoteKey) = default;
};

struct DeviceAttributes {
  std::string provider;  // "shm", "tcp", "verbs", "sim".
  std::string device;    // The provider's name of the device, for people.
  std::string
      note;  // What it can and cannot do, as far as that is worth a line to people. "": nothing.
  Atomicity atomicity = Atomicity::kHca;
  uint32_t send_queue_depth_max = 0;  // Requests outstanding on one queue pair.
  uint32_t receive_queue_depth = 0;   // WRITE_WITH_IMMs that can wait; further ones stall.
  uint32_t inline_bytes_max = 0;      // Longest WRITE with `inline_data`. 0: none.
  bool can_map = false;               // QueuePair::Map works.
};

// The largest region, header and rounding to whole pages included.
constexpr uint64_t kRegionBytesMax = uint64_t{4} << 30;

struct RegionOptions {
  uint32_t region_id = 0;  // Never 0, unique in the process for the Fabric's lifetime.
  size_t size_bytes = 0;   // Rounded up to whole pages. At most kRegionBytesMax with the header.
  // The most that Grant may ever hand out (the kernel enforces it on shm).
  uint32_t peer_rights = 0;
  HugePages huge_pages = HugePages::kOff;
  // The header's lease: 0 means that the region has none (it is readable as long as it is open).
  uint64_t lease_ns = 0;
  // Have readers that map the region learn of our death from the kernel, at once and for nothing, not
  // from a lease: where the provider can do that (shm), lease_ns is not used. Not for a region whose
  // readers must stop while we live on but hang: only a lease does that. Only for regions that peers
  // cannot write (peer_rights), else they could forge the mark: InvalidArgument.
  bool death_mark = false;
  std::string name = {};  // For people: /proc/*/maps, error messages.
};

// Memory that work requests may use on this side, and that peers may use as far as it was granted.
// Zero-filled when made. Its first kRegionHeaderBytes hold the header (transport/region_header.h).
class MemoryRegion {
 public:
  virtual ~MemoryRegion();  // As after Close(). CHECKs that no door leads to it any more.

  // Marks the header closed, for good: from here on mapped readers refuse what they read, and peers'
  // requests end with kBadKey. The memory stays ours, to read and write. Again does nothing.
  // Threads: any, beside every other use of the region.
  void Close();

  SharedWord* words() const { return words_; }
  size_t size_bytes() const { return size_bytes_; }
  uint32_t region_id() const { return region_id_; }
  // The page size that it really got, and why not more ("" if as asked for).
  size_t page_bytes() const { return page_bytes_; }
  absl::string_view page_note() const { return page_note_; }

  // Moves the lease's end to now_ns (CLOCK_MONOTONIC) + lease_ns. Call it every lease_ns / 5.
  virtual void RenewLease(uint64_t now_ns) = 0;

 protected:
  // What the provider does when the region closes, behind the mark in the header. May be called again, by
  // several threads in turn. Makes no call on a region.
  virtual void OnClose() {}

  // Of a second door (Fabric::RegisterRegion): it is told when `memory` closes, by whichever door, till it
  // leaves, which it must before it or `memory` goes.
  void JoinDoorsOf(MemoryRegion* memory);
  void LeaveDoors();
  MemoryRegion* original() const { return original_; }

  SharedWord* words_ = nullptr;
  size_t size_bytes_ = 0;
  uint32_t region_id_ = 0;
  size_t page_bytes_ = 0;
  std::string page_note_;

 private:
  MemoryRegion* original_ = nullptr;  // Of a second door: the region that it leads to. Else null.
  Mutex doors_mutex_;
  std::vector<MemoryRegion*> doors_ ABSL_GUARDED_BY(doors_mutex_);  // To this memory.
};

enum class Opcode : uint8_t { kRead, kWrite, kWriteWithImm, kCompareSwap, kFetchAdd };

// A card carries 32 bits; the rest says whose it is where threads share a queue pair.
constexpr uint32_t kImmediateMax = 0xff'ffff;

// One work request. READ and WRITE move whole words: offset and length are multiples of 8.
struct WorkRequest {
  Opcode opcode = Opcode::kRead;
  bool signaled = true;       // false: no completion, unless it fails.
  bool fence = false;         // Start only after all earlier READs and atomics completed (F4).
  bool inline_data = false;   // WRITE: the bytes are taken at Post(); the buffer is free at once.
  uint8_t traffic_class = 0;  // Carried to the peer's accounting; 0 is the default class.
  uint16_t tenant = 0;        // Likewise; 0 is nobody in particular.
  uint64_t id = 0;            // Comes back in the completion.
  // Local bytes: source of a WRITE, destination of a READ, 8 bytes for the old value of an atomic.
  // They lie in `local_region` (inline WRITEs may name none) and stay untouched until the
  // completion.
  SharedWord* local = nullptr;
  const MemoryRegion* local_region = nullptr;
  // Ignored by atomics. 0: no memory is touched, neither `local` nor the key is looked at.
  uint32_t length_bytes = 0;
  RemoteKey remote_key;
  uint64_t remote_offset_bytes = 0;
  uint32_t immediate = 0;    // kWriteWithImm only; at most kImmediateMax.
  uint64_t compare = 0;      // kCompareSwap only.
  uint64_t swap_or_add = 0;  // kCompareSwap: new value. kFetchAdd: addend.
};

enum class CompletionStatus : uint8_t {
  kOk,
  kLocalError,     // Our buffer was refused (verbs only: others CHECK it at Post).
  kBadKey,         // Unknown or stale key; region closed, its owner dead, or its lease over.
  kAccess,         // The key lacks the right.
  kBounds,         // Out of the region, misaligned.
  kAtomicDomain,   // A3.
  kRetryExceeded,  // The peer does not answer.
  kFlushed,        // The queue pair was broken before this one started.
};
const char* CompletionStatusName(CompletionStatus status);

enum class CompletionKind : uint8_t {
  kSend,       // Of a work request: `id` is its id.
  kReceive,    // A peer's WRITE_WITH_IMM: its data is visible. `immediate`, `length_bytes` are set.
  kConnected,  // Connect() succeeded. The queue pair is ready.
  kDisconnected,  // E3; the last thing that a queue pair reports. Also: Connect() failed.
};

class QueuePair;

struct Completion {
  CompletionKind kind = CompletionKind::kSend;
  CompletionStatus status = CompletionStatus::kOk;
  Opcode opcode = Opcode::kRead;
  uint32_t immediate = 0;
  uint32_t length_bytes = 0;
  uint64_t id = 0;
  QueuePair* queue_pair = nullptr;
};

// Where completions of a thread's queue pairs come out.
class CompletionQueue {
 public:
  virtual ~CompletionQueue() = default;
  // Takes up to completions.size() completions; returns how many. Never blocks; drives the
  // provider.
  virtual size_t Poll(absl::Span<Completion> completions) = 0;
  // Asks for fd() to become readable at the next completion. Poll once more after Arm() before
  // waiting: what came before it does not make fd() readable. One wake-up per Arm().
  virtual void Arm() = 0;
  virtual void Disarm() = 0;
  // To be watched with epoll (readable). Whoever woke calls Poll(). Besides armed completions it
  // becomes readable when a peer goes, armed or not.
  virtual int fd() const = 0;
};

// Memory of the peer in our address space (shm only).
struct MappedRegion {
  const SharedWord* words = nullptr;  // Lives as long as the queue pair. Readable, maybe no more.
  SharedWord* writable_words = nullptr;  // Same memory, if the key carries kRightWrite; else null.
  size_t size_bytes = 0;
  uint64_t generation = 0;  // That it was granted with: what RegionLease wants.
};

// What was asked of a queue pair on this side, whatever became of it: for budgets and for people.
struct VerbCounters {
  uint64_t reads = 0;
  uint64_t writes = 0;  // With and without an immediate.
  uint64_t atomics = 0;
  uint64_t doorbells = 0;  // Batches.
  // Batches with a READ or an atomic: what it brings is waited for. (That of a call is an answer of the peer's
  // CPU: RpcPeer::calls_made().)
  uint64_t round_trips = 0;

  VerbCounters& operator+=(const VerbCounters& other);
  VerbCounters& operator-=(const VerbCounters& other);
  friend bool operator==(const VerbCounters&, const VerbCounters&) = default;
};

enum class QueuePairState : uint8_t { kConnecting, kReady, kBroken };

// A reliable connection to one peer.
class QueuePair {
 public:
  virtual ~QueuePair() = default;  // Disconnects; the peer's side breaks (E3).

  // Posts the requests in order with one doorbell.
  // Errors: ResourceExhausted - the send queue is full, nothing was posted: poll completions first.
  //         FailedPrecondition - still connecting: wait for kConnected.
  // On a broken queue pair it returns OK, and every request completes with kFlushed.
  // CHECKs what only our own bug can break: empty batch, local bytes out of their region or
  // misaligned.
  [[nodiscard]] absl::Status Post(absl::Span<const WorkRequest> batch);

  // READs before it returns, where the provider can do that now: true, and *status says how it went. It
  // takes no place in the send queue and makes no completion; order, effects and errors are those of a
  // READ posted now (an error breaks the queue pair). Does not look at `id`, `signaled` and `fence`.
  // False: nothing was done, Post() it. Requires: opcode kRead; CHECKs as Post().
  [[nodiscard]] bool ReadAtOnce(const WorkRequest& request, CompletionStatus* status) {
    if (!DoReadAtOnce(request, status)) return false;
    ++reads_at_once_;
    return true;
  }

  // Hands a right on `region` to this peer; tell it the key by any message. No more than
  // RegionOptions::peer_rights: else InvalidArgument; also if the provider cannot keep the peer to it
  // (shm: reading only, of a region whose peer_rights let peers write). Unavailable when broken.
  [[nodiscard]] virtual absl::StatusOr<RemoteKey> Grant(const MemoryRegion& region,
                                                        uint32_t rights) = 0;

  // Maps what the peer granted. Errors: NotFound - unknown key; FailedPrecondition - this fabric or
  // this region cannot be mapped (DeviceAttributes::can_map); Unavailable - broken.
  [[nodiscard]] virtual absl::StatusOr<MappedRegion> Map(RemoteKey key) = 0;

  // True: once the peer has destroyed its queue pair no WRITE of ours lands any more, and each that
  // had completed with kOk before is visible to the peer's CPUs. So ours need not ask whether the
  // peer has given us up meanwhile. False: as F8 says, no more (docs/rings.md, "Placed"). Asked once
  // it is ready.
  virtual bool ack_is_placement() const { return false; }

  virtual QueuePairState state() const = 0;
  // Why it is broken, for people: what happened, where. OK while it is not.
  virtual absl::Status status() const = 0;
  // What the peer said in Connect() or Accept().
  virtual absl::string_view peer_private_data() const = 0;
  // The peer's process id where the kernel vouches for it (shm), else 0.
  virtual int peer_pid() const = 0;

  // Of all that was posted since it was made. What a provider sends on its own account does not count.
  VerbCounters verbs() const;

 protected:
  // Post() and ReadAtOnce() as the provider does them.
  virtual absl::Status DoPost(absl::Span<const WorkRequest> batch) = 0;
  virtual bool DoReadAtOnce(const WorkRequest& /*request*/, CompletionStatus* /*status*/) {
    return false;
  }

 private:
  VerbCounters posted_;
  uint64_t reads_at_once_ = 0;
};

// The most private data that connecting can carry: what rdma_cm takes for RC, 56 bytes, less a hello of the
// provider's own (rdma_cm pads what it carries and loses its length).
constexpr size_t kPrivateDataBytesMax = 48;

// A peer that wants to connect. May be moved to the thread that will own the queue pair.
class ConnectionRequest {
 public:
  virtual ~ConnectionRequest() = default;  // Rejects, if neither was called.
  virtual absl::string_view private_data() const = 0;
  // Whence it came, for people: "10.0.0.7:40112", "process 4711".
  virtual std::string peer() const = 0;
  // Null: any thread may accept it. Else the completion queue of one whose threads share a queue pair with that
  // peer, on which this one came, too: it must be accepted on that queue, or on another of the same group.
  virtual const CompletionQueue* home() const { return nullptr; }
  // The queue pair is ready when returned. Unavailable: the peer has gone. InvalidArgument: not its home().
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<QueuePair>> Accept(
      CompletionQueue* completion_queue, absl::string_view private_data) = 0;
};

class Listener {
 public:
  // Whence somebody came, for people, and why he was turned away.
  using Refused = std::function<void(absl::string_view peer, const absl::Status& why)>;

  virtual ~Listener() = default;
  // What peers pass to Connect(). Good on this machine (shm), or in the network.
  virtual std::string endpoint() const = 0;
  // The same for a peer that has reached this machine at `host`, a numeric address: where the listener has
  // none of its own, since it listens at all of them, that one is told.
  virtual std::string EndpointFor(absl::string_view /*host*/) const { return endpoint(); }
  virtual int fd() const = 0;  // Readable: call Poll() until it returns null.
  virtual std::unique_ptr<ConnectionRequest> Poll() = 0;

  // Has those counted whose bytes make no request: told on the thread of Poll(), which calls it. Who comes and
  // says nothing is not told of, unless others push him out: ResourceExhausted, which nothing else is.
  void SetRefused(Refused refused) { refused_ = std::move(refused); }

 protected:
  void Refuse(absl::string_view peer, const absl::Status& why) {
    if (refused_) refused_(peer, why);
  }

 private:
  Refused refused_;
};

class Fabric {
 public:
  virtual ~Fabric() = default;
  virtual const DeviceAttributes& device() const = 0;

  // Errors: ResourceExhausted - no memory; the message says how much was asked for and how to get
  //         it.
  //         InvalidArgument - a bad option, or huge pages of a stated size that are not there.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<MemoryRegion>> CreateRegion(
      const RegionOptions& options) = 0;

  // Opens a second door to memory that another Fabric of this process made: what is returned can be
  // granted to peers of this one (no more than `peer_rights`, whatever the other one may hand out), and
  // its words can be local buffers here. Header, lease, size and region id are those of `memory`: closing
  // either closes both, peers' requests then end with kBadKey. Destroying what is returned closes this
  // door only. Peers' atomics end with kAtomicDomain (A3): all of a region's come through the fabric that
  // made it. `memory` outlives what is returned.
  // Errors: Unimplemented - this provider cannot do that. InvalidArgument - unknown rights.
  //         ResourceExhausted - the device cannot take more memory.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<MemoryRegion>> RegisterRegion(
      MemoryRegion* memory, uint32_t peer_rights);

  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<CompletionQueue>>
  CreateCompletionQueue() = 0;
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Listener>> Listen() = 0;
  // The same at one address of this machine, numeric, and at no other: for a process that knows on which network its
  // peers are. Where peers do not come by addresses, or the device has its own: as Listen(). InvalidArgument: no
  // address of this machine.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Listener>> ListenAt(
      absl::string_view /*host*/) {
    return Listen();
  }

  // Starts to connect; never blocks. The queue pair's completion queue reports kConnected, or
  // kDisconnected with status() saying why. Connecting may go on only while that queue is polled; its fd()
  // becomes readable when there is something to do. Unavailable at once if nobody listens there, where that
  // is known.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<QueuePair>> Connect(
      absl::string_view endpoint, CompletionQueue* completion_queue,
      absl::string_view private_data) = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_FABRIC_H_

// Channel: messages between two threads through circular buffers filled by RDMA WRITEs.
//
// One ring per direction, each in its receiver's memory, both on one queue pair. The frame format
// is in transport/ring_frame.h, the two ends in ring_sender.h and ring_receiver.h; docs/rings.md
// has the protocol and why it holds.
//
// Set-up: both sides Create() a channel on a ready queue pair, exchange their ChannelOffers over
// the handshake's byte stream, and Attach() the other's.
//
// Region: each side makes one region per channel, peer rights READ and WRITE:
//   header | words for the upper layer | gate line | credit line | receive ring | payload area |
//   staging ring | scratch lines | landing area
// The peer WRITEs frames into the receive ring, its consumption into the credit line, and READs
// payloads over the inline limit out of the payload area. It looks at the gate, the first word of its
// line: 0 is open. The rest is ours, the source and destination of our own requests. A peer that writes elsewhere in the region spoils what we send
// to it, or breaks this channel; nothing that we judge is read from shared memory twice.
//
// Threads:    confined to the thread of the queue pair's completion queue.
// Ownership:  borrows the queue pair; owns its region. The queue pair outlives it, or goes first:
//             then the channel is broken before (Break()), and from then on no call but
//             OnCompletion() of its end looks at the queue pair.
// Order:      messages arrive once, in order, or the channel breaks; a message whose Send()
//             returned OK may be lost only together with the channel.
// Placed:     a message of SendPlaced() is placed when this side knows that it lies in the peer's ring
//             for good: the peer's Drain() finds it, whatever becomes of the connection
//             ("Placed" in docs/rings.md). Not if the peer's process dies, or destroys the channel
//             undrained.
// Errors:     once broken, it stays broken: status() says why, Send() fails, Poll() delivers
//             nothing. The owner then closes the queue pair.
// Limits:     no allocation after Attach(), but one for the first payload that must be READ, and
//             for the messages of errors. No call blocks.

#ifndef ACRE_TRANSPORT_CHANNEL_H_
#define ACRE_TRANSPORT_CHANNEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "transport/completion_sink.h"
#include "transport/fabric.h"
#include "transport/ring_frame.h"
#include "transport/ring_receiver.h"
#include "transport/ring_sender.h"

namespace acre::transport {

// What one side tells the other. Plain bytes on the wire; judged by Attach().
struct ChannelOffer {
  uint64_t region_key = 0;  // RemoteKey of my region: READ and WRITE.
  // Where your upper layer's words are (Channel::peer_words); behind them, my gate.
  uint64_t words_offset_bytes = 0;
  uint64_t credit_offset_bytes = 0;
  uint64_t ring_offset_bytes = 0;
  // A power of two. The smaller ring of the two sides counts in both directions.
  uint64_t ring_bytes = 0;
  uint64_t payload_offset_bytes = 0;
  uint64_t payload_bytes = 0;
  // 1: I never sleep, plain WRITEs suffice. 0: wake me (WRITE_WITH_IMM).
  uint64_t busy_polling = 0;
};
static_assert(sizeof(ChannelOffer) == 64);

// A payload area holds three of the largest payloads, see "Room" in docs/rings.md.
constexpr uint32_t kPayloadAreaBytesMin = 3 * kPayloadBytesMax;
constexpr size_t kPeerWords = 8;
// Where the gate is in the region, counted from ChannelOffer::words_offset_bytes: on a line of its own.
constexpr uint64_t kGateOffsetBytes = kPeerWords * kWordBytes;
static_assert(kGateOffsetBytes % kLineBytes == 0);

struct ChannelOptions {
  uint32_t region_id = 0;
  uint32_t ring_bytes = 1 << 18;  // A power of two, kRingBytesMin to kRingBytesMax.
  uint32_t payload_area_bytes = 1 << 22;
  bool busy_polling = false;
  uint64_t random_seed = 1;    // Of escape values.
  std::string peer_name = {};  // For error messages; by default what the fabric knows of the peer.
};

class Channel final : public CompletionSink {
 public:
  // Called for each message, in order. `payload` lives until the call returns, 8-byte aligned.
  class Receiver {
   public:
    virtual ~Receiver() = default;
    // An error breaks the channel (a frame that makes no sense to the upper layer). May Send(),
    // must not destroy the channel or Poll() it.
    virtual absl::Status OnMessage(uint8_t type, uint64_t view, absl::string_view payload) = 0;
  };

  // Errors: those of Fabric::CreateRegion and QueuePair::Grant; InvalidArgument - an option out of
  // bounds.
  static absl::StatusOr<std::unique_ptr<Channel>> Create(Fabric* fabric, QueuePair* queue_pair,
                                                         const ChannelOptions& options);
  ~Channel() override = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  const ChannelOffer& offer() const { return offer_; }
  // Once. InvalidArgument: the peer's offer makes no sense; the message says which field.
  [[nodiscard]] absl::Status Attach(const ChannelOffer& peer);

  // Appends one message made of the given parts, at most kPayloadBytesMax in all (CHECKed). It
  // leaves with the next Flush(). `type` is not 0.
  // Errors: ResourceExhausted - no room in the ring or the payload area: try again after Poll(),
  //         nothing was sent, order is the caller's to keep.
  //         Unavailable - broken.
  [[nodiscard]] absl::Status Send(uint8_t type, uint64_t view,
                                  absl::Span<const absl::string_view> parts);
  // The same for what placed_position() will tell of: the message goes inline, at most
  // kReservedPayloadBytes or InlineBytesMax() of the smaller ring (CHECKed). *position: where it ends.
  [[nodiscard]] absl::Status SendPlaced(uint8_t type, uint64_t view,
                                        absl::Span<const absl::string_view> parts,
                                        uint64_t* position);
  // The same again into room that was set aside (RingSender): never ResourceExhausted. At most
  // kReservedPayloadBytes (CHECKed). On errors the room stays set aside.
  [[nodiscard]] absl::Status SendReserved(uint8_t type, uint64_t view,
                                          absl::Span<const absl::string_view> parts,
                                          uint64_t* position);
  // Sets aside room for one SendReserved(): other messages find no room there. ResourceExhausted:
  // none now, or a quarter of the ring is set aside already. Unavailable: broken.
  [[nodiscard]] absl::Status ReserveRoom();
  void UnreserveRoom();
  // All messages that end up to here are placed. As of the last Poll(), which may find that the peer
  // has closed its gate: that breaks the channel (Unavailable).
  uint64_t placed_position() const { return placed_; }

  // Posts what Send() gathered, adjacent frames as one WRITE. What finds no place in the send queue
  // stays, and leaves with a later Flush(): call it after every Poll().
  void Flush();
  // Delivers what has arrived, at most messages_max. Returns how many. Looks at the ring itself.
  size_t Poll(Receiver* receiver, size_t messages_max);
  // Gives the peer up: what it sends from now on it is not told to be placed. Poll() goes on. For
  // good; again does nothing.
  void CloseGate();
  // Delivers what lies whole in the ring, all that was placed among it, and breaks the channel if it
  // is not broken yet: nothing comes after. Messages by reference are skipped, also one whose READ was
  // under way; a bad frame, or one that the receiver refuses, ends it. Returns how many. Makes no
  // use of the queue pair, nor reports room.
  // Requires: CloseGate() (CHECKed); behind it the queue pair was destroyed, but where
  // QueuePair::ack_is_placement() is false it need not be, so long as the thread is the same.
  size_t Drain(Receiver* receiver);

  // From OnMessage(), for a message that went inline (CHECKed): not now. It comes again, and nothing
  // before it, with the next Poll() or Drain(). What OnMessage() then returns is not looked at.
  void Defer() { is_deferred_ = true; }
  bool is_deferred() const { return is_deferred_; }

  // Whoever polls the completion queue hands on what belongs to this channel's queue pair, but for
  // completions of others' requests (ids without kSinkIdBit).
  void OnCompletion(const Completion& completion) override;

  // Words in our region that the peer may WRITE and the upper layer reads (kvs: the client's
  // epoch).
  const SharedWord* peer_words() const { return words_at(offer_.words_offset_bytes); }
  // WRITEs one of those words at the peer, now or at the next Flush() when the send queue is full.
  // Of several values that wait the last one wins. index < kPeerWords. No wake-up.
  void WritePeerWord(size_t index, uint64_t value);

  // OK, or why it is broken. `ok()` alone is cheaper.
  const absl::Status& status() const { return status_; }
  bool ok() const { return status_.ok(); }
  // Breaks it from our side.
  void Break(absl::Status why);

 private:
  // Requests of this channel that may be under way at once, on any device.
  static constexpr uint32_t kRequestsMax = 64;

  // A message whose payload must be READ. It and all later ones wait till that is done.
  struct Fetch {
    enum class State : uint8_t { kNone, kToPost, kReading, kLanded };
    State state = State::kNone;
    uint8_t type = 0;
    uint64_t view = 0;
    PayloadReference reference = {};
    uint64_t request = 0;  // Sequence number of the READ.
  };

  Channel(QueuePair* queue_pair, std::unique_ptr<MemoryRegion> region,
          const ChannelOptions& options, const DeviceAttributes& device);

  // Where a placed message's last look at the peer's gate comes from.
  enum class GateLook : uint8_t {
    kNone,    // Nowhere: QueuePair::ack_is_placement().
    kMapped,  // From our own address space.
    kRead,    // By a READ behind the WRITE.
  };

  SharedWord* words_at(uint64_t offset_bytes) const {
    return region_->words() + offset_bytes / kWordBytes;
  }
  bool usable() const { return attached_ && status_.ok(); }

  // Posts the batch, or returns false: no place in the send queue now, or broken. Chooses ids and
  // which requests are signaled: the last one if it must be.
  bool PostBatch(absl::Span<WorkRequest> batch, bool must_signal = false);
  bool HasPlaceFor(size_t requests) const {
    return posted_requests_ - confirmed_requests_ + requests <= requests_max_;
  }
  WorkRequest RequestFor(Opcode opcode, SharedWord* local, uint64_t length_bytes,
                         uint64_t remote_offset_bytes) const;
  // A line of our own for the next request, or one that comes later, not reused before it completed.
  SharedWord* NextScratchLine(uint64_t later = 0) const;
  void PostPeerWords();
  void ReportCredit();
  // Takes the peer's reports. False: they broke the channel.
  bool TakeCredits();

  // How to look at the peer's gate, from its offer. InvalidArgument: it lies outside of its region.
  absl::Status FindGate();
  // Moves placed_ up to what has been confirmed, by a look at the mapped gate if need be.
  void LookForPlaced();
  // The READ that goes `later` requests behind the next one.
  WorkRequest GateRead(uint64_t later) const;
  void OnGateRead(uint64_t request);
  void BreakByGate();

  // Why no message may be sent.
  absl::Status WhyUnusable() const;
  // Puts the parts into gathered_, padded to whole words.
  void Gather(absl::Span<const absl::string_view> parts, uint32_t bytes);
  absl::Status SendInline(uint8_t type, uint64_t view, absl::Span<const absl::string_view> parts,
                          uint32_t bytes);
  absl::Status SendReference(uint8_t type, uint64_t view, absl::Span<const absl::string_view> parts,
                             uint32_t bytes);
  // Copies the parts into the payload area; returns their checksum.
  uint64_t CopyToPayloadArea(uint64_t offset_bytes, absl::Span<const absl::string_view> parts);

  // Breaks it over a frame, or a message, that makes no sense.
  void BreakByFrame(absl::string_view why);
  // Each returns true when a message may follow, and breaks the channel on what cannot be.
  bool StartFetch(const RingReceiver::Frame& frame);
  void PostFetch();
  bool DeliverFetched(Receiver* receiver);
  bool Deliver(Receiver* receiver, uint8_t type, uint64_t view, absl::string_view payload);
  // False as well when it is deferred.
  bool DeliverInline(Receiver* receiver, const RingReceiver::Frame& frame);
  bool DeliverDeferred(Receiver* receiver);

  QueuePair* const queue_pair_;
  const std::unique_ptr<MemoryRegion> region_;
  const std::string peer_name_;
  const uint64_t random_seed_;
  const uint32_t requests_max_;
  const bool has_inline_data_;
  const absl::Status no_room_;  // Made once: copies of it allocate nothing.
  absl::Status status_;
  bool attached_ = false;
  ChannelOffer offer_;
  ChannelOffer peer_;
  uint64_t staging_offset_bytes_ = 0;
  uint64_t scratch_offset_bytes_ = 0;
  uint64_t landing_offset_bytes_ = 0;

  // Requests on the queue pair: counted since the start, a completion's id is its number.
  // Invariant: confirmed_requests_ <= posted_requests_ <= confirmed_requests_ + requests_max_.
  uint64_t posted_requests_ = 0;
  uint64_t confirmed_requests_ = 0;
  uint64_t signaled_requests_ = 0;  // The last one that was signaled.
  uint64_t bytes_since_signal_ = 0;
  std::array<uint64_t, kRequestsMax> ring_position_of_request_ = {};

  uint32_t ring_words_ = 0;  // Of both directions.
  absl::optional<RingSender> sender_;
  absl::optional<PayloadArea> payload_area_;
  absl::optional<RingReceiver> receiver_;
  Fetch fetch_;
  bool is_deferred_ = false;
  RingReceiver::Frame deferred_;  // Its payload lies in receiver_ till the next one is taken.
  // What we have consumed of the peer's payload area, as it counts.
  uint64_t payload_position_ = 0;
  uint64_t reported_head_ = 0;
  uint64_t reported_payload_position_ = 0;

  // Placed messages, as positions of the ring to the peer. Invariant: placed_ <= confirmed.
  GateLook gate_look_ = GateLook::kRead;
  const SharedWord* peer_gate_ = nullptr;  // kMapped. Lives as long as the queue pair.
  uint64_t wanted_placed_ = 0;             // Where the last message of SendPlaced() ends.
  uint64_t placed_ = 0;
  uint64_t gate_reads_ = 0;  // READs of the gate under way: a bit for request % kRequestsMax.
  static_assert(kRequestsMax <= 64);
  bool is_gate_closed_ = false;  // Ours.
  bool heard_garbage_ = false;   // From the peer: what lies in the ring behind it is not drained.

  std::array<uint64_t, kPeerWords> peer_word_values_ = {};
  uint32_t peer_words_waiting_ = 0;  // A bit for each that is to be written.

  // The message being sent, or a chunk of its payload.
  std::array<uint64_t, kInlineBytesMax / kWordBytes> gathered_;
  static_assert(sizeof(gathered_) == kChecksumChunkBytes);
  std::unique_ptr<uint64_t[]> fetched_;  // Private copy of the payload being delivered.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_CHANNEL_H_

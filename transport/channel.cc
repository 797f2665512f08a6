// Making a channel, and agreeing with the peer. The datapath is in channel_datapath.cc.

#include "transport/channel.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/region_header.h"

namespace acre::transport {
namespace {

constexpr uint64_t kLandingBytes = (kPayloadBytesMax + kLineBytes - 1) / kLineBytes * kLineBytes;

// Where everything lies in a channel's region, in bytes.
struct Layout {
  uint64_t words = kRegionHeaderBytes;
  uint64_t gate = words + kGateOffsetBytes;
  uint64_t credit = gate + kLineBytes;
  uint64_t ring = credit + kLineBytes;
  uint64_t payload;
  uint64_t staging;
  uint64_t scratch;
  uint64_t landing;
  uint64_t end;

  Layout(uint64_t ring_bytes, uint64_t payload_bytes, uint64_t scratch_lines)
      : payload(ring + ring_bytes),
        staging(payload + payload_bytes),
        scratch(staging + ring_bytes),
        landing(scratch + scratch_lines * kLineBytes),
        end(landing + kLandingBytes) {}
};

absl::optional<absl::string_view> WhyInvalidRing(uint64_t ring_bytes) {
  if (ring_bytes < kRingBytesMin || ring_bytes > kRingBytesMax ||
      !std::has_single_bit(ring_bytes)) {
    return "ring_bytes: not a power of two within its bounds";
  }
  return absl::nullopt;
}

// True if the range is a run of lines between the header and the end of the largest region.
bool IsRangeOfRegion(uint64_t offset_bytes, uint64_t bytes) {
  return offset_bytes >= kRegionHeaderBytes && offset_bytes % kLineBytes == 0 &&
         bytes <= kRegionBytesMax && offset_bytes <= kRegionBytesMax - bytes;
}

// Overlapping ranges are the peer's own affair: they spoil nothing but its channel.
absl::optional<absl::string_view> WhyInvalid(const ChannelOffer& offer) {
  if (offer.region_key == 0) return "region_key: 0";
  if (const auto why = WhyInvalidRing(offer.ring_bytes)) return why;
  if (offer.payload_bytes < kPayloadAreaBytesMin || offer.payload_bytes % kLineBytes != 0) {
    return "payload_bytes: too few, or not a multiple of 64";
  }
  if (!IsRangeOfRegion(offer.words_offset_bytes, kGateOffsetBytes + kLineBytes)) {
    return "words_offset_bytes";
  }
  if (!IsRangeOfRegion(offer.credit_offset_bytes, kLineBytes)) return "credit_offset_bytes";
  if (!IsRangeOfRegion(offer.ring_offset_bytes, offer.ring_bytes)) return "ring_offset_bytes";
  if (!IsRangeOfRegion(offer.payload_offset_bytes, offer.payload_bytes)) {
    return "payload_offset_bytes";
  }
  if (offer.busy_polling > 1) return "busy_polling: neither 0 nor 1";
  return absl::nullopt;
}

std::string NameOf(const QueuePair& queue_pair, const ChannelOptions& options) {
  if (!options.peer_name.empty()) return options.peer_name;
  if (queue_pair.peer_pid() != 0) return absl::StrCat("process ", queue_pair.peer_pid());
  return "unnamed";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Channel>> Channel::Create(Fabric* fabric, QueuePair* queue_pair,
                                                         const ChannelOptions& options) {
  if (const auto why = WhyInvalidRing(options.ring_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("channel option ", *why, ": ", options.ring_bytes));
  }
  if (options.payload_area_bytes < kPayloadAreaBytesMin ||
      options.payload_area_bytes % kLineBytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("channel option payload_area_bytes: ", options.payload_area_bytes,
                     " is less than ", kPayloadAreaBytesMin, " or not a multiple of 64"));
  }
  const Layout layout(options.ring_bytes, options.payload_area_bytes, kRequestsMax);
  auto region = fabric->CreateRegion({.region_id = options.region_id,
                                      .size_bytes = layout.end,
                                      .peer_rights = kRightRead | kRightWrite,
                                      .name = "acre-channel"});
  if (!region.ok()) return region.status();
  auto key = queue_pair->Grant(**region, kRightRead | kRightWrite);
  if (!key.ok()) return key.status();

  std::unique_ptr<Channel> channel(
      new Channel(queue_pair, *std::move(region), options, fabric->device()));
  channel->offer_ = {.region_key = key->bits,
                     .words_offset_bytes = layout.words,
                     .credit_offset_bytes = layout.credit,
                     .ring_offset_bytes = layout.ring,
                     .ring_bytes = options.ring_bytes,
                     .payload_offset_bytes = layout.payload,
                     .payload_bytes = options.payload_area_bytes,
                     .busy_polling = options.busy_polling ? 1u : 0u};
  channel->staging_offset_bytes_ = layout.staging;
  channel->scratch_offset_bytes_ = layout.scratch;
  channel->landing_offset_bytes_ = layout.landing;
  return channel;
}

Channel::Channel(QueuePair* queue_pair, std::unique_ptr<MemoryRegion> region,
                 const ChannelOptions& options, const DeviceAttributes& device)
    : queue_pair_(queue_pair),
      region_(std::move(region)),
      peer_name_(NameOf(*queue_pair, options)),
      random_seed_(options.random_seed),
      // Half of the send queue stays for the other users of the queue pair.
      requests_max_(std::clamp(device.send_queue_depth_max / 2, 4u, kRequestsMax)),
      has_inline_data_(device.inline_bytes_max >= 2 * kWordBytes),
      no_room_(absl::ResourceExhaustedError("the ring to the peer is full")) {}

absl::Status Channel::Attach(const ChannelOffer& peer) {
  CHECK(!attached_) << "attached twice";
  if (const auto why = WhyInvalid(peer)) {
    return absl::InvalidArgumentError(
        absl::StrCat("peer ", peer_name_, ": the offer of its channel makes no sense: ", *why));
  }
  peer_ = peer;
  if (absl::Status found = FindGate(); !found.ok()) return found;
  ring_words_ = static_cast<uint32_t>(std::min(offer_.ring_bytes, peer_.ring_bytes) / kWordBytes);
  sender_.emplace(words_at(staging_offset_bytes_), ring_words_, random_seed_);
  payload_area_.emplace(offer_.payload_bytes);
  receiver_.emplace(words_at(offer_.ring_offset_bytes), ring_words_);
  attached_ = true;
  return absl::OkStatus();
}

absl::Status Channel::FindGate() {
  if (queue_pair_->ack_is_placement()) {
    gate_look_ = GateLook::kNone;
    return absl::OkStatus();
  }
  const absl::StatusOr<MappedRegion> mapped = queue_pair_->Map({peer_.region_key});
  // Another machine's, or a key that is none: the first READ will tell.
  if (!mapped.ok()) return absl::OkStatus();
  const uint64_t gate_bytes = peer_.words_offset_bytes + kGateOffsetBytes;
  if (gate_bytes + kWordBytes > mapped->size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "peer ", peer_name_,
        ": the offer of its channel makes no sense: words_offset_bytes: beyond its region"));
  }
  gate_look_ = GateLook::kMapped;
  peer_gate_ = mapped->words + gate_bytes / kWordBytes;
  return absl::OkStatus();
}

void Channel::Break(absl::Status why) {
  CHECK(!why.ok());
  if (status_.ok()) status_ = std::move(why);
}

}  // namespace acre::transport

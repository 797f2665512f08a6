// Arbitrary bytes as a tcp peer sends them, to both ends of the protocol.
//
// An input: a byte that says which end, then for
//   0 the responder: bytes of the peer's requests, which come in two halves.
//   1 the requester: a byte of how many requests are posted, one for each what kind, then the answers.
//   2 a hello.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "glog/logging.h"
#include "runtime/clock.h"
#include "transport/region_header.h"
#include "transport/tcp/tcp_requester.h"
#include "transport/tcp/tcp_responder.h"

namespace acre::transport {
namespace {

constexpr size_t kRegionWords = 64;
constexpr size_t kOutputBytes = 16384;
constexpr uint32_t kDepth = 8;

// Whole words of private memory, of exactly that size: asan sees a step outside.
std::vector<uint64_t> Words(const uint8_t* data, size_t bytes) {
  std::vector<uint64_t> words((bytes + kWordBytes - 1) / kWordBytes);
  if (bytes > 0) std::memcpy(words.data(), data, bytes);  // Private memory.
  return words;
}

void RunResponder(const uint8_t* data, size_t bytes) {
  ManualClock clock;
  const std::unique_ptr<SharedWord[]> region(new SharedWord[kRegionWords]());
  auto* const header = reinterpret_cast<RegionHeader*>(region.get());
  header->generation.Store(1, std::memory_order_relaxed);
  header->state.Store(kRegionLive, std::memory_order_relaxed);
  header->lease_deadline_ns.Store(kNoLeaseNs, std::memory_order_relaxed);
  TcpReceiveQueue receives(2);
  TcpResponder responder({.atomicity = Atomicity::kGlobal, .is_same_domain = true}, &receives);
  const auto exported =
      std::make_shared<TcpExport>(TcpExport{.words = region.get(),
                                            .size_bytes = kRegionWords * kWordBytes,
                                            .lease = RegionLease(header, 1, &clock),
                                            .is_foreign = false});
  CHECK(responder.Grant(exported, kRightsAll).ok());
  CHECK(responder.Grant(exported, kRightRead).ok());
  TcpOutput output(kOutputBytes);
  const std::vector<uint64_t> words = Words(data, bytes);
  // Two pieces: what the first leaves is the beginning of the second, as with a socket.
  size_t taken = 0;
  for (const size_t piece : {bytes / 2, bytes}) {
    TcpInput input(words.data() + taken / kWordBytes, piece - taken);
    TcpResponder::Outcome outcome = TcpResponder::Outcome::kNoRoom;
    while (outcome == TcpResponder::Outcome::kNoRoom) {
      bool received;
      outcome = responder.Run(&input, &output, &received);
      CHECK_LE(output.pending_bytes(), kOutputBytes);
      output.Clear();
    }
    if (outcome == TcpResponder::Outcome::kGarbage) return;
    if (outcome == TcpResponder::Outcome::kRefused) return;
    if (outcome == TcpResponder::Outcome::kStalled) {
      TcpReceiveQueue::Entry entry;
      bool has_stalled;
      CHECK(receives.Pop(&entry, &has_stalled) && has_stalled);
    }
    taken = piece - input.bytes();
    CHECK_EQ(taken % kWordBytes, 0u);
  }
}

class CountingSink : public TcpRequester::Sink {
 public:
  void OnAnswer(const WorkRequest& request, CompletionStatus) override {
    CHECK_EQ(request.id, answered);
    ++answered;
  }
  uint64_t answered = 0;
};

void RunRequester(const uint8_t* data, size_t bytes) {
  CountingSink sink;
  TcpRequester requester(kDepth, &sink);
  TcpOutput output(kOutputBytes);
  const std::unique_ptr<SharedWord[]> local(new SharedWord[kRegionWords]());
  const size_t count = std::min<size_t>(bytes, kDepth);
  for (size_t i = 0; i < count; ++i) {
    WorkRequest request;
    request.opcode = static_cast<Opcode>(data[i] % 5);
    request.id = i;
    request.local = local.get();
    request.length_bytes = data[i] / 5 * 8;
    requester.Post(request, &output);
  }
  const std::vector<uint64_t> words = Words(data + count, bytes - count);
  TcpInput input(words.data(), bytes - count);
  if (requester.Consume(&input).ok()) CHECK_LT(input.bytes(), kWordBytes);
  requester.Flush(CompletionStatus::kFlushed);
  CHECK_EQ(sink.answered, count);
}

}  // namespace
}  // namespace acre::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using acre::transport::TcpHello;
  if (bytes == 0) return 0;
  switch (data[0] % 3) {
    case 0:
      acre::transport::RunResponder(data + 1, bytes - 1);
      break;
    case 1:
      acre::transport::RunRequester(data + 1, bytes - 1);
      break;
    case 2: {
      TcpHello hello = {};
      std::memcpy(&hello, data + 1, std::min(bytes - 1, sizeof(hello)));  // Private memory.
      if (!WhyInvalid(hello)) CHECK_LE(hello.private_data_bytes, sizeof(hello.private_data));
      break;
    }
  }
  return 0;
}

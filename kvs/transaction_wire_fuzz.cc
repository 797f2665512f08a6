// Whatever bytes come in a transaction's request, notice or response, parsing them breaks nothing, and what is parsed is all
// that they say.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "kvs/transaction_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace kvs = acre::kvs;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto notice = kvs::ParseNotice(bytes); notice.ok()) {
    CHECK(kvs::EncodeNotice(notice->id, notice->finished_below) == bytes);
  }
  kvs::TransactionRequest request;
  if (kvs::ParseTransaction(bytes, &request).ok()) {
    // Keys and values of any length are TransactionHome's to judge; those in limits are encoded again.
    bool is_within_limits = true;
    size_t total = sizeof(kvs::TransactionHeader) +
                   request.participants.size() * sizeof(kvs::TransactionParticipantWire) +
                   (request.misses.size() + request.reads.size()) * sizeof(kvs::ReadMarkWire);
    for (const kvs::TransactionWrite& write : request.writes) {
      total += kvs::TransactionWriteBytes(write.key, write.value);
      if (write.key.size() > kvs::kKeyBytesMax || write.value.size() > kvs::kValueBytesMax) {
        is_within_limits = false;
      }
    }
    CHECK_EQ(total, bytes.size());
    std::string again;
    if (is_within_limits && kvs::EncodeTransaction(request.id, request.finished_below, request.hold,
                                                   request.participants, request.misses,
                                                   request.reads, request.writes, &again)) {
      CHECK(again == bytes);
    }
  }
  if (const auto vote = kvs::ParseVote(bytes); vote.ok()) {
    std::string again;
    kvs::EncodeVote(*vote, &again);
    CHECK(again == bytes);
  }
  if (const auto hold = kvs::ParseHold(bytes); hold.ok()) {
    size_t total = sizeof(kvs::TransactionHoldHeader);
    for (absl::string_view key : hold->keys) total += sizeof(uint16_t) + key.size();
    CHECK_EQ(total, bytes.size());
  }
  if (const auto id = kvs::ParseId(bytes); id.ok()) CHECK(kvs::EncodeId(*id) == bytes);
  if (const auto outcome = kvs::ParseOutcome(bytes); outcome.ok()) {
    CHECK(kvs::EncodeOutcome(*outcome) == bytes);
  }
  if (const auto resolve = kvs::ParseResolve(bytes); resolve.ok()) {
    CHECK(kvs::EncodeResolve(*resolve) == bytes);
  }
  return 0;
}

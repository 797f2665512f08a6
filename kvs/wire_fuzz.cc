// Whatever bytes come in a request, a response or a cluster file, parsing them breaks nothing.

#include <cstddef>
#include <cstdint>
#include <string>

#include "glog/logging.h"
#include "kvs/cluster.h"
#include "kvs/lock_wire.h"
#include "kvs/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace kvs = acre::kvs;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto put = kvs::ParsePut(bytes); put.ok()) {
    CHECK_EQ(put->key.size() + put->value.size() + sizeof(kvs::PutHeader), bytes.size());
  }
  if (const auto keys = kvs::ParseMultiGet(bytes); keys.ok()) {
    size_t total = sizeof(kvs::MultiGetHeader);
    for (absl::string_view key : *keys) total += sizeof(uint16_t) + key.size();
    CHECK_EQ(total, bytes.size());
  }
  if (const auto answers = kvs::ParseMultiGetResponse(bytes, kvs::kMultiGetKeysMax); answers.ok()) {
    size_t total = sizeof(kvs::MultiGetHeader);
    for (const kvs::ParsedAnswer& answer : *answers) {
      total += sizeof(kvs::MultiGetAnswer) + answer.value.size();
    }
    CHECK_EQ(total, bytes.size());
  }
  if (const auto lock = kvs::ParseLock(bytes); lock.ok()) {
    CHECK_NE(lock->header.ticket, 0u);
    CHECK_EQ(sizeof(kvs::LockHeader) + lock->name.size(), bytes.size());
  }
  if (const auto unlock = kvs::ParseUnlock(bytes); unlock.ok()) CHECK_EQ(bytes.size(), 8u);
  if (const auto answer = kvs::ParseLockAnswer(bytes); answer.ok()) CHECK_EQ(bytes.size(), 8u);
  if (const auto force = kvs::ParseForceUnlock(bytes); force.ok()) {
    CHECK_EQ(sizeof(kvs::ForceUnlockHeader) + force->name.size(), bytes.size());
  }
  if (const auto join = kvs::ParseJoin(bytes); join.ok()) {
    CHECK(kvs::EncodeJoin(*join) == bytes);
  }
  if (const auto question = kvs::ParseLockQuestion(bytes); question.ok()) {
    CHECK(kvs::EncodeLockQuestion(question->word, question->other, question->dead) == bytes);
  }
  if (const auto regions = kvs::ParseLockRegions(bytes); regions.ok()) {
    CHECK(kvs::EncodeLockRegions(*regions) == bytes);
  }
  (void)kvs::ParseLockIntents(bytes);
  (void)kvs::ParseJoinAnswer(bytes);
  (void)kvs::ParseLockQuestionAnswer(bytes);
  (void)kvs::ParseLockKeysRequest(bytes);
  (void)kvs::ParseLockPeer(bytes);
  if (const auto answer = kvs::ParseClusterAnswer(bytes); answer.ok()) {
    const auto again = kvs::ParseClusterAnswer(kvs::EncodeClusterAnswer(*answer));
    CHECK(again.ok()) << again.status();
    CHECK(again->place == answer->place);
  }
  if (const auto map = kvs::ParseClusterFile(bytes); map.ok()) {
    CHECK_EQ(map->view, kvs::ViewOf(map->servers));
    CHECK_EQ(map->NumberOf(map->servers.back()), map->servers.size());
  }
  return 0;
}

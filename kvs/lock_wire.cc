#include "kvs/lock_wire.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/wire_bytes.h"

namespace acre::kvs {
namespace {

using transport::AppendWire;
using transport::TakeWire;

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("locks of buckets: ", what));
}

// A message that is one struct, whole.
template <class T>
bool TakeWhole(absl::string_view bytes, T* wire) {
  return TakeWire(&bytes, wire) && bytes.empty();
}

}  // namespace

std::string EncodeJoin(const JoinRequest& request) {
  std::string bytes;
  AppendWire(&bytes, JoinHeader{request.descriptors_count, 0});
  bytes.append(request.endpoint.data(), request.endpoint.size());
  return bytes;
}

absl::StatusOr<JoinRequest> ParseJoin(absl::string_view request) {
  JoinHeader header;
  if (!TakeWire(&request, &header)) return Invalid("a join without a header");
  if (header.reserved0 != 0) return Invalid("a reserved field of a join");
  if (header.descriptors_count == 0 || header.descriptors_count > kLockDescriptorsMax) {
    return Invalid(absl::StrCat("a join with ", header.descriptors_count, " descriptors"));
  }
  if (request.empty() || request.size() > kLockEndpointBytesMax) {
    return Invalid(absl::StrCat("an endpoint of ", request.size(), " B"));
  }
  return JoinRequest{header.descriptors_count, request};
}

absl::StatusOr<JoinAnswer> ParseJoinAnswer(absl::string_view response) {
  JoinAnswer answer;
  if (!TakeWhole(response, &answer) || answer.reserved0 != 0 || answer.lock_id == 0) {
    return Invalid("an answer to a join that makes no sense");
  }
  return answer;
}

std::string EncodeLockQuestion(RemoteWord word, RemoteWord other, absl::Span<const uint32_t> dead) {
  CHECK_LE(dead.size(), kLockDeadMax);
  std::string bytes;
  AppendWire(&bytes,
             LockQuestionHeader{word.bits(), other.bits(), static_cast<uint32_t>(dead.size()), 0});
  for (const uint32_t id : dead) AppendWire(&bytes, id);
  return bytes;
}

absl::StatusOr<LockQuestion> ParseLockQuestion(absl::string_view request) {
  LockQuestionHeader header;
  if (!TakeWire(&request, &header) || header.reserved0 != 0) {
    return Invalid("a question without a header");
  }
  if (header.dead_count > kLockDeadMax || request.size() != header.dead_count * sizeof(uint32_t)) {
    return Invalid(
        absl::StrCat("a question with ", header.dead_count, " dead in ", request.size(), " B"));
  }
  LockQuestion question{RemoteWord::FromBits(header.word), RemoteWord::FromBits(header.other), {}};
  question.dead.resize(header.dead_count);
  for (uint32_t& id : question.dead) CHECK(TakeWire(&request, &id));
  return question;
}

absl::StatusOr<bool> ParseLockQuestionAnswer(absl::string_view response) {
  LockQuestionAnswer answer;
  if (!TakeWhole(response, &answer) || answer.yes > 1) {
    return Invalid("an answer to a question that makes no sense");
  }
  return answer.yes == 1;
}

absl::StatusOr<LockKeysRequest> ParseLockKeysRequest(absl::string_view request) {
  LockKeysRequest parsed;
  if (!TakeWhole(request, &parsed) || parsed.reserved0 != 0 || parsed.lock_id == 0) {
    return Invalid("a request for keys that makes no sense");
  }
  return parsed;
}

absl::StatusOr<transport::RemoteKey> ParseLockIntents(absl::string_view response) {
  LockIntentsAnswer answer;
  if (!TakeWhole(response, &answer) || answer.key == 0) {
    return Invalid("a key for intents that makes no sense");
  }
  return transport::RemoteKey{answer.key};
}

std::string EncodeLockRegions(const LockRegionKeys& regions) {
  std::string bytes;
  for (const auto& [region_id, key] : regions) {
    AppendWire(&bytes, LockRegionWire{region_id, 0, key.bits});
  }
  return bytes;
}

absl::StatusOr<LockRegionKeys> ParseLockRegions(absl::string_view response) {
  LockRegionKeys regions;
  LockRegionWire region;
  while (TakeWire(&response, &region)) {
    if (region.region_id == 0 || region.reserved0 != 0 || region.key == 0) {
      return Invalid("a region's key that makes no sense");
    }
    regions.emplace_back(region.region_id, transport::RemoteKey{region.key});
  }
  if (regions.empty() || !response.empty()) return Invalid("regions' keys that end in one");
  return regions;
}

absl::StatusOr<uint32_t> ParseLockPeer(absl::string_view request) {
  LockPeerRequest parsed;
  if (!TakeWhole(request, &parsed) || parsed.reserved0 != 0 || parsed.lock_id == 0) {
    return Invalid("a request about a peer that makes no sense");
  }
  return parsed.lock_id;
}

}  // namespace acre::kvs

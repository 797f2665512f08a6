#include "kvs/wire.h"

#include <cstring>

#include "glog/logging.h"
#include "transport/wire_bytes.h"

namespace acre::kvs {
namespace {

using transport::AppendWire;
using transport::TakeBytes;
using transport::TakeWire;

}  // namespace

void EncodePutHead(absl::string_view key, absl::string_view value, std::string* head) {
  CHECK_LE(key.size(), kKeyBytesMax);
  CHECK_LE(value.size(), kValueBytesMax);
  head->clear();
  AppendWire(head,
             PutHeader{static_cast<uint32_t>(key.size()), static_cast<uint32_t>(value.size())});
  head->append(key.data(), key.size());
}

absl::StatusOr<PutRequest> ParsePut(absl::string_view request) {
  PutHeader header;
  if (!TakeWire(&request, &header)) return absl::InvalidArgumentError("Put: no header");
  if (uint64_t{header.key_bytes} + header.value_bytes != request.size()) {
    return absl::InvalidArgumentError("Put: lengths do not fit the request");
  }
  return PutRequest{request.substr(0, header.key_bytes), request.substr(header.key_bytes)};
}

void EncodeMultiGet(absl::Span<const absl::string_view> keys, std::string* request) {
  CHECK(!keys.empty());
  CHECK_LE(keys.size(), kMultiGetKeysMax);
  request->clear();
  AppendWire(request, MultiGetHeader{static_cast<uint32_t>(keys.size()), 0});
  for (absl::string_view key : keys) {
    CHECK_LE(key.size(), kKeyBytesMax);
    AppendWire(request, static_cast<uint16_t>(key.size()));
    request->append(key.data(), key.size());
  }
}

absl::StatusOr<std::vector<absl::string_view>> ParseMultiGet(absl::string_view request) {
  MultiGetHeader header;
  if (!TakeWire(&request, &header)) return absl::InvalidArgumentError("MultiGet: no header");
  if (header.reserved0 != 0) return absl::InvalidArgumentError("MultiGet: reserved is not zero");
  if (header.count == 0 || header.count > kMultiGetKeysMax) {
    return absl::InvalidArgumentError("MultiGet: 1 to 256 keys in a request");
  }
  std::vector<absl::string_view> keys(header.count);
  for (absl::string_view& key : keys) {
    uint16_t key_bytes;
    if (!TakeWire(&request, &key_bytes) || !TakeBytes(&request, key_bytes, &key)) {
      return absl::InvalidArgumentError("MultiGet: the request ends in a key");
    }
  }
  if (!request.empty()) return absl::InvalidArgumentError("MultiGet: bytes behind the last key");
  return keys;
}

MultiGetResponse::MultiGetResponse(std::string* response) : response_(response) {
  response_->clear();
  AppendWire(response_, MultiGetHeader{0, 0});
}

bool MultiGetResponse::Add(absl::StatusCode code, absl::string_view value) {
  if (code != absl::StatusCode::kOk) value = {};
  if (response_->size() + sizeof(MultiGetAnswer) + value.size() > transport::kRpcBytesMax) {
    return false;
  }
  AppendWire(response_,
             MultiGetAnswer{static_cast<uint32_t>(code), static_cast<uint32_t>(value.size())});
  response_->append(value.data(), value.size());
  ++count_;
  char* const count = response_->data() + offsetof(MultiGetHeader, count);
  std::memcpy(count, &count_, sizeof(count_));  // private memory
  return true;
}

absl::StatusOr<std::vector<ParsedAnswer>> ParseMultiGetResponse(absl::string_view response,
                                                                size_t asked) {
  MultiGetHeader header;
  if (!TakeWire(&response, &header))
    return absl::InvalidArgumentError("MultiGet: no answer header");
  if (header.reserved0 != 0 || header.count == 0 || header.count > asked) {
    return absl::InvalidArgumentError("MultiGet: a wrong number of answers");
  }
  std::vector<ParsedAnswer> answers(header.count);
  for (ParsedAnswer& answer : answers) {
    MultiGetAnswer wire;
    if (!TakeWire(&response, &wire) || !TakeBytes(&response, wire.value_bytes, &answer.value)) {
      return absl::InvalidArgumentError("MultiGet: the response ends in an answer");
    }
    if (wire.code > static_cast<uint32_t>(absl::StatusCode::kUnauthenticated)) {
      return absl::InvalidArgumentError("MultiGet: unknown status code");
    }
    answer.code = static_cast<absl::StatusCode>(wire.code);
  }
  if (!response.empty()) return absl::InvalidArgumentError("MultiGet: bytes behind the answers");
  return answers;
}

absl::StatusOr<LockRequest> ParseLock(absl::string_view request) {
  LockRequest parsed;
  if (!TakeWire(&request, &parsed.header)) return absl::InvalidArgumentError("Lock: no header");
  if (parsed.header.ticket == 0) return absl::InvalidArgumentError("Lock: ticket 0");
  parsed.name = request;
  return parsed;
}

absl::StatusOr<UnlockRequest> ParseUnlock(absl::string_view request) {
  UnlockRequest parsed;
  if (!TakeWire(&request, &parsed) || !request.empty()) {
    return absl::InvalidArgumentError("Unlock: a ticket of 8 bytes, no more");
  }
  return parsed;
}

absl::StatusOr<ForceUnlockRequest> ParseForceUnlock(absl::string_view request) {
  ForceUnlockRequest parsed;
  if (!TakeWire(&request, &parsed.header)) {
    return absl::InvalidArgumentError("ForceUnlock: no header");
  }
  parsed.name = request;
  return parsed;
}

absl::StatusOr<LockAnswer> ParseLockAnswer(absl::string_view response) {
  LockAnswer parsed;
  if (!TakeWire(&response, &parsed) || !response.empty()) {
    return absl::InvalidArgumentError("Lock: an answer of another length");
  }
  return parsed;
}

}  // namespace acre::kvs

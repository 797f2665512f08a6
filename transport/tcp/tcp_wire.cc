#include "transport/tcp/tcp_wire.h"

#include <algorithm>

#include "glog/logging.h"
#include "runtime/shared_word.h"

namespace acre::transport {

absl::optional<absl::string_view> WhyInvalid(const TcpHello& hello) {
  if (hello.magic != kTcpMagic) return "its hello has a wrong magic number";
  if (hello.version != kTcpVersion) return "it speaks another version of the tcp protocol";
  if (hello.role != TcpRole::kMyRequests && hello.role != TcpRole::kYourRequests &&
      hello.role != TcpRole::kAnswer) {
    return "the role of its stream is unknown";
  }
  if (hello.reserved0 != 0) return "a reserved field of its hello is not zero";
  if (hello.private_data_bytes > kPrivateDataBytesMax) return "its private data are too long";
  const char* const end = hello.private_data + kPrivateDataBytesMax;
  if (std::any_of(hello.private_data + hello.private_data_bytes, end,
                  [](char byte) { return byte != 0; })) {
    return "something follows its private data";
  }
  return absl::nullopt;
}

absl::optional<absl::string_view> WhyInvalid(const TcpRequestWire& request) {
  const bool is_atomic =
      request.opcode == TcpOpcode::kCompareSwap || request.opcode == TcpOpcode::kFetchAdd;
  if (request.opcode < TcpOpcode::kRead || request.opcode > TcpOpcode::kFetchAdd) {
    return "a request of unknown kind";
  }
  if ((request.flags & ~kTcpFlagFence) != 0) return "a request with unknown flags";
  if (request.reserved0 != 0 || request.reserved1 != 0) {
    return "a reserved field of a request is not zero";
  }
  if (request.opcode != TcpOpcode::kWriteWithImm && request.immediate != 0) {
    return "an immediate where none belongs";
  }
  if (is_atomic && request.length_bytes != kWordBytes) return "an atomic that is not one word";
  return absl::nullopt;
}

absl::optional<absl::string_view> WhyInvalid(const TcpRequestWire& request,
                                             const TcpAtomicWire& atomic) {
  if (request.opcode == TcpOpcode::kFetchAdd && atomic.compare != 0) {
    return "a FETCH_ADD that compares";
  }
  return absl::nullopt;
}

absl::optional<absl::string_view> WhyInvalid(const TcpResponseWire& response) {
  if (response.reserved0 != 0) return "a reserved field of a response is not zero";
  if (response.status > TcpStatus::kAtomicDomain) return "a response of unknown status";
  if (response.payload_bytes % kWordBytes != 0) return "a response that is not whole words";
  const int kinds = (response.payload_bytes != 0 ? 1 : 0) + (response.acks != 0 ? 1 : 0) +
                    (response.status != TcpStatus::kOk ? 1 : 0);
  if (kinds != 1) return "a response that is none of its three kinds";
  return absl::nullopt;
}

TcpOpcode ToWire(Opcode opcode) {
  switch (opcode) {
    case Opcode::kRead:
      return TcpOpcode::kRead;
    case Opcode::kWrite:
      return TcpOpcode::kWrite;
    case Opcode::kWriteWithImm:
      return TcpOpcode::kWriteWithImm;
    case Opcode::kCompareSwap:
      return TcpOpcode::kCompareSwap;
    case Opcode::kFetchAdd:
      return TcpOpcode::kFetchAdd;
  }
  LOG(FATAL) << "not an Opcode";
}

Opcode FromWire(TcpOpcode opcode) {
  switch (opcode) {
    case TcpOpcode::kRead:
      return Opcode::kRead;
    case TcpOpcode::kWrite:
      return Opcode::kWrite;
    case TcpOpcode::kWriteWithImm:
      return Opcode::kWriteWithImm;
    case TcpOpcode::kCompareSwap:
      return Opcode::kCompareSwap;
    case TcpOpcode::kFetchAdd:
      return Opcode::kFetchAdd;
  }
  LOG(FATAL) << "an opcode that was not judged";
}

CompletionStatus FromWire(TcpStatus status) {
  switch (status) {
    case TcpStatus::kOk:
      return CompletionStatus::kOk;
    case TcpStatus::kBadKey:
      return CompletionStatus::kBadKey;
    case TcpStatus::kAccess:
      return CompletionStatus::kAccess;
    case TcpStatus::kBounds:
      return CompletionStatus::kBounds;
    case TcpStatus::kAtomicDomain:
      return CompletionStatus::kAtomicDomain;
  }
  LOG(FATAL) << "a status that was not judged";
}

TcpStatus ToWire(CompletionStatus status) {
  switch (status) {
    case CompletionStatus::kOk:
      return TcpStatus::kOk;
    case CompletionStatus::kBadKey:
      return TcpStatus::kBadKey;
    case CompletionStatus::kAccess:
      return TcpStatus::kAccess;
    case CompletionStatus::kBounds:
      return TcpStatus::kBounds;
    case CompletionStatus::kAtomicDomain:
      return TcpStatus::kAtomicDomain;
    case CompletionStatus::kLocalError:
    case CompletionStatus::kRetryExceeded:
    case CompletionStatus::kFlushed:
      break;
  }
  LOG(FATAL) << "not a target's status: " << CompletionStatusName(status);
}

}  // namespace acre::transport

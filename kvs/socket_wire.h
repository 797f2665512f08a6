// Bytes of the socket baseline (--path=tcp): plain requests and responses over TCP. Specified in
// docs/wire.md, section "Socket baseline".
//
// The client opens with kSocketPreamble; from then on it sends request frames, and the server
// answers each with one response frame, in the order of the requests. Any number may be on their
// way. A request is {header, key, value}, a response {header, payload}. Little-endian, no
// alignment, no padding.
//
// A server that takes a connection for no requests at all says so with one frame that answers none:
// its opcode is kSocketRefusal, its code and payload tell why. Nothing follows.
//
// Both sides judge what they read with WhyInvalid() and close the connection, that one only, when
// it gives a reason: after a header that makes no sense nobody knows where the next one starts.

#ifndef ACRE_KVS_SOCKET_WIRE_H_
#define ACRE_KVS_SOCKET_WIRE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "kvs/limits.h"

namespace acre::kvs {

// First bytes of a connection. Tells it apart from the handshake that the same port takes.
constexpr absl::string_view kSocketPreamble("ACREKVS1", 8);

// A number is never reused.
enum class SocketOpcode : uint8_t { kGet = 1, kPut = 2, kDelete = 3, kStats = 4, kCluster = 5 };
constexpr uint8_t kSocketRefusal = 0;  // Of a response; no request has it.

struct SocketRequestHeader {
  uint8_t opcode;        // SocketOpcode.
  uint8_t reserved0;     // Zero, refused otherwise.
  uint16_t key_bytes;    // 1 to kKeyBytesMax; kStats, kCluster: 0.
  uint32_t value_bytes;  // kPut: up to kValueBytesMax; kCluster: 8, the view; all others: 0.
};
static_assert(sizeof(SocketRequestHeader) == 8);
static_assert(offsetof(SocketRequestHeader, key_bytes) == 2);
static_assert(offsetof(SocketRequestHeader, value_bytes) == 4);
static_assert(std::is_trivially_copyable_v<SocketRequestHeader>);
static_assert(std::has_unique_object_representations_v<SocketRequestHeader>, "hidden padding");

struct SocketResponseHeader {
  uint8_t opcode;      // Of the request that it answers.
  uint8_t code;        // absl::StatusCode.
  uint16_t reserved0;  // Zero, refused otherwise.
  uint32_t
      payload_bytes;  // OK: the value (kGet), the text (kStats), the answer (kCluster), 0; else the message.
};
static_assert(sizeof(SocketResponseHeader) == 8);
static_assert(offsetof(SocketResponseHeader, reserved0) == 2);
static_assert(offsetof(SocketResponseHeader, payload_bytes) == 4);
static_assert(std::is_trivially_copyable_v<SocketResponseHeader>);
static_assert(std::has_unique_object_representations_v<SocketResponseHeader>, "hidden padding");

static_assert(std::endian::native == std::endian::little);
static_assert(kKeyBytesMax <= UINT16_MAX && kValueBytesMax <= UINT32_MAX);

constexpr size_t kSocketMessageBytesMax = 1024;  // Of an error. Longer ones are cut.
constexpr size_t kSocketRequestBytesMax =
    sizeof(SocketRequestHeader) + kKeyBytesMax + kValueBytesMax;
constexpr size_t kSocketResponseBytesMax = sizeof(SocketResponseHeader) + kValueBytesMax;

constexpr bool IsValid(SocketOpcode opcode) {
  switch (opcode) {
    case SocketOpcode::kGet:
    case SocketOpcode::kPut:
    case SocketOpcode::kDelete:
    case SocketOpcode::kStats:
    case SocketOpcode::kCluster:
      return true;
  }
  return false;
}

// Why a client's header must be refused, or nullopt. Judges the bytes alone.
inline absl::optional<absl::string_view> WhyInvalid(const SocketRequestHeader& header) {
  const auto opcode = static_cast<SocketOpcode>(header.opcode);
  if (!IsValid(opcode)) return "unknown opcode";
  if (header.reserved0 != 0) return "reserved byte is not zero";
  if (opcode == SocketOpcode::kStats || opcode == SocketOpcode::kCluster) {
    if (header.key_bytes != 0) return "this request takes no key";
  } else {
    if (header.key_bytes == 0) return "key is empty";
    if (header.key_bytes > kKeyBytesMax) return "key is longer than 4096 bytes";
  }
  if (opcode == SocketOpcode::kPut) {
    if (header.value_bytes > kValueBytesMax) return "value is longer than 1048576 bytes";
  } else if (opcode == SocketOpcode::kCluster) {
    if (header.value_bytes != sizeof(uint64_t)) return "a view has 8 bytes";
  } else {
    if (header.value_bytes != 0) return "this request takes no value";
  }
  return absl::nullopt;
}

// The frame of a server that refuses a connection. A long message is cut.
inline std::string EncodeSocketRefusal(const absl::Status& why) {
  const absl::string_view text = why.message().substr(0, kSocketMessageBytesMax);
  const SocketResponseHeader header = {.opcode = kSocketRefusal,
                                       .code = static_cast<uint8_t>(why.code()),
                                       .reserved0 = 0,
                                       .payload_bytes = static_cast<uint32_t>(text.size())};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(text.data(), text.size());
  return bytes;
}

// Why a server's refusal must be refused itself, or nullopt.
inline absl::optional<absl::string_view> WhyInvalidRefusal(const SocketResponseHeader& header) {
  if (header.reserved0 != 0) return "reserved bytes are not zero";
  if (header.code == 0 || header.code > static_cast<uint8_t>(absl::StatusCode::kUnauthenticated)) {
    return "unknown status code";
  }
  if (header.payload_bytes > kSocketMessageBytesMax) return "message is too long";
  return absl::nullopt;
}

// Why a server's header must be refused, as the answer to `expected`, or nullopt.
inline absl::optional<absl::string_view> WhyInvalid(const SocketResponseHeader& header,
                                                    SocketOpcode expected) {
  if (header.opcode != static_cast<uint8_t>(expected)) return "answers another kind of request";
  if (header.reserved0 != 0) return "reserved bytes are not zero";
  if (header.code > static_cast<uint8_t>(absl::StatusCode::kUnauthenticated)) {
    return "unknown status code";
  }
  if (header.code != 0) {
    if (header.payload_bytes > kSocketMessageBytesMax) return "message is too long";
  } else if (expected == SocketOpcode::kGet || expected == SocketOpcode::kStats ||
             expected == SocketOpcode::kCluster) {
    if (header.payload_bytes > kValueBytesMax) return "value is longer than 1048576 bytes";
  } else {
    if (header.payload_bytes != 0) return "this answer takes no payload";
  }
  return absl::nullopt;
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_SOCKET_WIRE_H_

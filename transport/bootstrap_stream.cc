#include "transport/bootstrap_stream.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace acre::transport {

absl::Status NotAServer(const absl::Status& why) {
  return absl::DataLossError(absl::StrCat(why.message(), ": is it a kv_server of this release?"));
}

namespace {

// What a server's door says no with. Who refuses has proved nothing, so no other code gets through: NotFound,
// for one, would be taken for an answer about a record.
absl::Status JudgeRefusal(const absl::Status& said) {
  switch (said.code()) {
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
      return said;
    case absl::StatusCode::kInvalidArgument:
      // What a server of another release says to a Hello is not always what it means.
      return absl::FailedPreconditionError(
          absl::StrCat("the server does not understand this client (", said.message(),
                       "): use client and server of one release"));
    default:
      return NotAServer(said);
  }
}

}  // namespace

Task<absl::StatusOr<std::string>> ReadMessage(Stream* stream, BootstrapMessage expected,
                                              uint64_t deadline_ns) {
  MessageHeader header;
  absl::Status status = co_await stream->Read(&header, sizeof(header), deadline_ns);
  if (!status.ok()) co_return status;
  const bool refused = header.message == static_cast<uint32_t>(BootstrapMessage::kRefusal);
  status = CheckHeader(header, refused ? BootstrapMessage::kRefusal : expected);
  if (!status.ok()) co_return NotAServer(status);
  std::string body(header.body_bytes, '\0');
  status = co_await stream->Read(body.data(), body.size(), deadline_ns);
  if (!status.ok()) co_return status;
  if (refused) {
    status = JudgeRefusal(ParseRefusal(body));
    co_return status;
  }
  co_return body;
}

Task<absl::StatusOr<std::unique_ptr<Stream>>> OpenStream(Scheduler* scheduler, Resolver* resolver,
                                                         HostPort server, uint64_t deadline_ns) {
  Resolver own_resolver(scheduler);
  if (resolver == nullptr) resolver = &own_resolver;
  absl::StatusOr<std::vector<SocketAddress>> addresses =
      co_await resolver->ResolveUntil(std::move(server), deadline_ns);
  if (!addresses.ok()) co_return addresses.status();
  absl::Status last = absl::UnavailableError("it has no address");
  for (const SocketAddress& address : *addresses) {
    absl::StatusOr<ScopedFd> fd = StartConnect(address);
    if (!fd.ok()) {
      last = fd.status();
      continue;
    }
    auto stream = std::make_unique<Stream>(scheduler, *std::move(fd));
    last = co_await stream->FinishConnect(deadline_ns);
    if (last.ok()) co_return stream;
  }
  co_return last;
}

}  // namespace acre::transport

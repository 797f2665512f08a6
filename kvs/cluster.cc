#include "kvs/cluster.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "transport/wire_bytes.h"

namespace acre::kvs {
namespace {

using transport::HostPort;

// Longer ones are no names of hosts.
constexpr size_t kAddressBytesMax = 512;

absl::StatusOr<HostPort> ParseAddressLine(absl::string_view line) {
  if (line.size() > kAddressBytesMax) return absl::InvalidArgumentError("an address is too long");
  if (std::any_of(line.begin(), line.end(), [](char c) { return !absl::ascii_isgraph(c); })) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", line, "\" is more than one HOST:PORT: give one a line"));
  }
  absl::StatusOr<HostPort> address = transport::ParseHostPort(line);
  if (address.ok() && address->port == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(line, " has port 0: give the port that the server listens on"));
  }
  return address;
}

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("cluster: ", what));
}

}  // namespace

uint32_t ClusterMap::NumberOf(const HostPort& address) const {
  const std::string wanted = NormalAddress(address);
  const auto found =
      std::find_if(servers.begin(), servers.end(),
                   [&wanted](const HostPort& server) { return NormalAddress(server) == wanted; });
  return found == servers.end() ? 0 : static_cast<uint32_t>(found - servers.begin()) + 1;
}

std::string NormalAddress(const HostPort& address) {
  const absl::optional<transport::SocketAddress> number = transport::ParseAddress(address);
  return number.has_value() ? number->ToString() : absl::AsciiStrToLower(address.ToString());
}

uint64_t ViewOf(const std::vector<HostPort>& servers) {
  std::string text;
  for (const HostPort& server : servers) absl::StrAppend(&text, NormalAddress(server), "\n");
  const uint64_t view = XXH3_64bits(text.data(), text.size());
  return view == 0 ? 1 : view;
}

absl::StatusOr<ClusterMap> ParseClusterFile(absl::string_view text) {
  ClusterMap map;
  absl::flat_hash_map<std::string, size_t> lines_of;
  size_t line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    absl::StatusOr<HostPort> server = ParseAddressLine(line);
    if (!server.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", line_number, ": ", server.status().message()));
    }
    const auto [known, is_new] = lines_of.emplace(NormalAddress(*server), line_number);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat("lines ", known->second, " and ", line_number,
                                                     " name the same server, ", line));
    }
    map.servers.push_back(*std::move(server));
  }
  if (map.servers.empty()) return absl::InvalidArgumentError("names no server");
  if (map.servers.size() > transport::kServersMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "names ", map.servers.size(), " servers: a cluster has at most ", transport::kServersMax));
  }
  map.view = ViewOf(map.servers);
  return map;
}

absl::StatusOr<transport::ServerPlace> PlaceOf(const ClusterMap& map, const HostPort& listen) {
  const uint32_t number = map.NumberOf(listen);
  if (number == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("has no line ", listen.ToString(),
                     ": it lists the servers' --listen addresses, in the same words"));
  }
  return transport::ServerPlace{map.view, number, static_cast<uint32_t>(map.servers.size())};
}

std::string EncodeClusterAnswer(const ClusterAnswer& answer) {
  CHECK_EQ(answer.servers.size(), answer.place.servers_count);
  std::string bytes;
  transport::AppendWire(
      &bytes, ClusterHeader{answer.place.view, answer.generation, answer.place.server_number,
                            answer.place.servers_count, answer.segments_count, 0});
  for (const HostPort& server : answer.servers) {
    const std::string text = server.ToString();
    transport::AppendWire(&bytes, static_cast<uint16_t>(text.size()));
    bytes += text;
  }
  return bytes;
}

absl::StatusOr<ClusterAnswer> ParseClusterAnswer(absl::string_view bytes) {
  ClusterHeader header;
  if (!transport::TakeWire(&bytes, &header)) return Invalid("the answer is too short");
  if (header.reserved0 != 0) return Invalid("a reserved field is not zero");
  if (header.generation == 0) return Invalid("generation is 0");
  ClusterAnswer answer;
  answer.place = {header.view, header.server_number, header.servers_count};
  answer.generation = header.generation;
  answer.segments_count = header.segments_count;
  if (const auto why = WhyInvalid(answer.place)) return Invalid(*why);
  for (uint32_t i = 0; i < header.servers_count; ++i) {
    uint16_t text_bytes;
    absl::string_view text;
    if (!transport::TakeWire(&bytes, &text_bytes) ||
        !transport::TakeBytes(&bytes, text_bytes, &text)) {
      return Invalid("the answer ends in an address");
    }
    absl::StatusOr<HostPort> server = ParseAddressLine(text);
    if (!server.ok()) return Invalid(server.status().message());
    answer.servers.push_back(*std::move(server));
  }
  if (!bytes.empty()) return Invalid("bytes behind the last address");
  if (header.view != 0 && header.view != ViewOf(answer.servers)) {
    return Invalid("the view is not that of the list of servers");
  }
  return answer;
}

}  // namespace acre::kvs

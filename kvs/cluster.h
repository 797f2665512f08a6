// The cluster: its file, its view, and what a server tells of it (Method::kCluster,
// SocketOpcode::kCluster). docs/cluster.md.

#ifndef ACRE_KVS_CLUSTER_H_
#define ACRE_KVS_CLUSTER_H_

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kvs/key_share.h"
#include "transport/server_place.h"
#include "transport/socket.h"

namespace acre::kvs {

inline KeyShare ShareOf(const transport::ServerPlace& place) {
  return {place.servers_count, place.server_number - 1};
}

// The servers of a cluster in the order of their numbers, from 1 on.
struct ClusterMap {
  uint64_t view = 0;  // ViewOf(servers); 0: no cluster.
  std::vector<transport::HostPort> servers;

  // The number of the server with this address, 0 if there is none. Numbers of hosts are compared as
  // numbers, names as they are written; nobody is asked what a name means.
  uint32_t NumberOf(const transport::HostPort& address) const;
};

// An address in the one spelling that views and comparisons go by: numbers of hosts as the kernel writes them,
// names in lower case.
std::string NormalAddress(const transport::HostPort& address);
// Never 0, and another one for another list, whatever it differs in: an address, the order, the number.
uint64_t ViewOf(const std::vector<transport::HostPort>& servers);

// Judges the text of a cluster file: one HOST:PORT a line, `#` begins a comment, blank lines count for nothing.
// InvalidArgument: names the line and what is wrong; or no server, or more than kServersMax.
absl::StatusOr<ClusterMap> ParseClusterFile(absl::string_view text);
// Where the server that listens on `listen` stands in it. InvalidArgument: it does not.
absl::StatusOr<transport::ServerPlace> PlaceOf(const ClusterMap& map,
                                               const transport::HostPort& listen);

// The answer to kCluster: this, then for each server the bytes of its address (uint16_t) and its HOST:PORT.
struct ClusterHeader {
  uint64_t view;
  uint64_t generation;      // Of the server's incarnation. Never 0.
  uint32_t server_number;   // Of who answers.
  uint32_t servers_count;   // So many addresses follow. Without a cluster: 1, its own.
  uint32_t segments_count;  // On the server that answers.
  uint32_t reserved0;
};
static_assert(sizeof(ClusterHeader) == 32 && offsetof(ClusterHeader, segments_count) == 24);
static_assert(std::has_unique_object_representations_v<ClusterHeader>, "hidden padding");

struct ClusterAnswer {
  transport::ServerPlace place;
  uint64_t generation = 0;
  uint32_t segments_count = 0;
  std::vector<transport::HostPort> servers;
};
std::string EncodeClusterAnswer(const ClusterAnswer& answer);
// InvalidArgument: the bytes make no sense, or the view is not that of the list.
absl::StatusOr<ClusterAnswer> ParseClusterAnswer(absl::string_view bytes);

}  // namespace acre::kvs

#endif  // ACRE_KVS_CLUSTER_H_

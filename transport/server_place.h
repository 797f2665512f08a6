// ServerPlace: where a server stands in its cluster, as it tells everybody. docs/cluster.md.

#ifndef ACRE_TRANSPORT_SERVER_PLACE_H_
#define ACRE_TRANSPORT_SERVER_PLACE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace acre::transport {

// A server's number takes the high 8 bits of the ids that it gives (transport/address.h), and 0 is no server.
constexpr uint32_t kServersMax = 255;

struct ServerPlace {
  // Names the cluster's list of servers: who has another list has another view. 0: no cluster, a server alone.
  uint64_t view = 0;
  uint32_t server_number = 1;  // 1 to servers_count.
  uint32_t servers_count = 1;  // Up to kServersMax. Alone: 1.

  friend bool operator==(const ServerPlace&, const ServerPlace&) = default;
};

// "1f93...": 16 hexadecimal digits; "none" for 0.
std::string ViewName(uint64_t view);
// OutOfRange: what is said when a client of one view meets a server of another. Who gets it has an old list of
// the servers, or the servers have different ones.
absl::Status OtherView(uint64_t servers_view, uint64_t clients_view);

// Why a peer's place makes no sense, or nullopt.
inline absl::optional<absl::string_view> WhyInvalid(const ServerPlace& place) {
  if (place.servers_count == 0 || place.servers_count > kServersMax) {
    return "a cluster has 1 to 255 servers";
  }
  if (place.server_number == 0 || place.server_number > place.servers_count) {
    return "the server's number is none of its cluster";
  }
  if (place.view == 0 && place.servers_count != 1) return "a cluster without a view";
  return absl::nullopt;
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SERVER_PLACE_H_

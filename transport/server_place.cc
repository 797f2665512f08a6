#include "transport/server_place.h"

#include "absl/strings/str_cat.h"

namespace acre::transport {

std::string ViewName(uint64_t view) {
  return view == 0 ? "none" : absl::StrCat(absl::Hex(view, absl::kZeroPad16));
}

absl::Status OtherView(uint64_t servers_view, uint64_t clients_view) {
  return absl::OutOfRangeError(absl::StrCat("the server's cluster file differs: view ",
                                            ViewName(servers_view), ", yours ",
                                            ViewName(clients_view)));
}

}  // namespace acre::transport

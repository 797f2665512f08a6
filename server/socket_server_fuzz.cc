// Whatever bytes a client sends, in whatever pieces, a SocketServer answers the requests among them
// in order, refuses what makes no sense with the last answer, and closes. What the answers must be
// is found by reading the same bytes apart from it.
//
// An input: one byte, how large the pieces are; then the bytes of the connection behind its
// preamble.

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "glog/logging.h"
#include "kvs/socket_wire.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "server/socket_server.h"
#include "transport/server_place.h"

namespace acre::server {
namespace {

using kvs::SocketOpcode;
using kvs::SocketRequestHeader;
using kvs::SocketResponseHeader;

class MapStore : public SocketService {
 public:
  bool GetAtOnce(absl::string_view key, std::string* value, absl::Status* status) override {
    JudgeKey(key);
    // Every second one has to wait.
    if (++gets_count_ % 2 == 0) return false;
    *status = Find(key, value);
    return true;
  }
  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    JudgeKey(key);
    co_return Find(key, value);
  }
  Task<absl::Status> Put(absl::string_view key, absl::string_view value) override {
    JudgeKey(key);
    CHECK_LE(value.size(), kvs::kValueBytesMax);
    records_[std::string(key)] = std::string(value);
    co_return absl::OkStatus();
  }
  Task<absl::Status> Delete(absl::string_view key) override {
    JudgeKey(key);
    co_return records_.erase(std::string(key)) > 0 ? absl::OkStatus()
                                                   : absl::NotFoundError("no such record");
  }
  std::string Stats() override { return "records 1\n"; }
  absl::Status Cluster(uint64_t view, std::string* answer) override {
    if (view != 0 && view != kView) return transport::OtherView(kView, view);
    *answer = "the cluster";
    return absl::OkStatus();
  }

 private:
  static constexpr uint64_t kView = 7;

  static void JudgeKey(absl::string_view key) {
    CHECK(!key.empty() && key.size() <= kvs::kKeyBytesMax);
  }

  absl::Status Find(absl::string_view key, std::string* value) const {
    const auto found = records_.find(std::string(key));
    if (found == records_.end()) return absl::NotFoundError("no such record");
    *value = found->second;
    return absl::OkStatus();
  }

  std::map<std::string, std::string> records_;
  uint64_t gets_count_ = 0;
};

template <class Header>
Header HeaderOf(absl::string_view bytes) {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  return header;
}

// Opcodes of the requests that are whole, and whether something follows that makes no sense.
std::vector<uint8_t> Requests(absl::string_view bytes, bool* refused) {
  std::vector<uint8_t> opcodes;
  *refused = false;
  while (bytes.size() >= sizeof(SocketRequestHeader)) {
    const auto header = HeaderOf<SocketRequestHeader>(bytes);
    const size_t frame_bytes =
        sizeof(header) + size_t{header.key_bytes} + size_t{header.value_bytes};
    *refused = kvs::WhyInvalid(header).has_value();
    if (!*refused && bytes.size() < frame_bytes) break;
    opcodes.push_back(header.opcode);
    if (*refused) break;
    bytes.remove_prefix(frame_bytes);
  }
  return opcodes;
}

void JudgeAnswers(absl::string_view answers, const std::vector<uint8_t>& opcodes, bool refused) {
  for (size_t i = 0; i < opcodes.size(); ++i) {
    CHECK_GE(answers.size(), sizeof(SocketResponseHeader)) << "an answer is missing";
    const auto header = HeaderOf<SocketResponseHeader>(answers);
    CHECK_EQ(header.opcode, opcodes[i]);
    CHECK_LE(header.payload_bytes, answers.size() - sizeof(header));
    const auto code = static_cast<absl::StatusCode>(header.code);
    if (refused && i + 1 == opcodes.size()) {
      CHECK(code == absl::StatusCode::kInvalidArgument);
    } else {
      CHECK(!kvs::WhyInvalid(header, static_cast<SocketOpcode>(opcodes[i])).has_value());
      CHECK(code == absl::StatusCode::kOk || code == absl::StatusCode::kNotFound ||
            (code == absl::StatusCode::kOutOfRange &&
             opcodes[i] == static_cast<uint8_t>(SocketOpcode::kCluster)));
    }
    answers.remove_prefix(sizeof(header) + header.payload_bytes);
  }
  CHECK(answers.empty()) << "answers to nothing";
}

void RunOne(size_t piece_bytes, absl::string_view bytes) {
  ManualClock clock;
  Scheduler scheduler({.clock = &clock, .name = "fuzz"});
  MapStore store;
  SocketServer server(&scheduler, &store);
  int ends[2];
  PCHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  server.AddConnection(ends[0], "");

  std::string answers;
  absl::string_view unsent = bytes;
  bool ended = false;
  while (!ended) {
    if (!unsent.empty()) {
      const size_t wanted = std::min(piece_bytes, unsent.size());
      const ssize_t sent = send(ends[1], unsent.data(), wanted, MSG_NOSIGNAL | MSG_DONTWAIT);
      // A server that has refused and seen enough hangs up.
      if (sent < 0 && errno != EAGAIN) unsent = {};
      if (sent > 0) unsent.remove_prefix(static_cast<size_t>(sent));
      if (unsent.empty()) shutdown(ends[1], SHUT_WR);
    } else if (bytes.empty()) {
      shutdown(ends[1], SHUT_WR);
    }
    scheduler.RunOnce();
    char room[4096];
    ssize_t got;
    while ((got = recv(ends[1], room, sizeof(room), MSG_DONTWAIT)) > 0) {
      answers.append(room, static_cast<size_t>(got));
    }
    ended =
        unsent.empty() && server.counters().connections_open.Load(std::memory_order_relaxed) == 0;
  }
  bool refused;
  const std::vector<uint8_t> opcodes = Requests(bytes, &refused);
  char room[4096];
  ssize_t got;
  while ((got = recv(ends[1], room, sizeof(room), MSG_DONTWAIT)) > 0) {
    answers.append(room, static_cast<size_t>(got));
  }
  close(ends[1]);
  JudgeAnswers(answers, opcodes, refused);
  CHECK_EQ(server.counters().connections_refused.Load(std::memory_order_relaxed),
           refused ? 1u : 0u);
}

}  // namespace
}  // namespace acre::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  acre::server::RunOne(size_t{data[0]} * data[0] + 1,
                       {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}

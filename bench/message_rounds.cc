#include "bench/message_rounds.h"

#include <cstdio>
#include <utility>

#include "bench/median.h"
#include "bench/subprocess.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

// What the two processes agree on before a load; behind it the server tells its MessageCost. Plain bytes on the
// socket pair.
struct Command {
  uint64_t way;
  uint64_t connections;
};

// Of a slice, to warm caches and pools.
constexpr double kWarmupShare = 0.2;

class Rounds {
 public:
  Rounds(const RoundsOptions& options, int socket)
      : options_(options),
        socket_(socket),
        ring_(MakeRingCaller(options.sides)),
        tcp_(MakeTcpCaller(options.sides)) {
    for (const uint64_t bytes : options.bytes) {
      for (const uint64_t connections : options.connections) {
        for (const uint64_t outstanding : options.outstanding)
          AddRows(bytes, connections, outstanding);
      }
    }
  }

  absl::StatusOr<std::vector<MessageRow>> Run(bool progress) {
    absl::Status status = ring_->Connect(socket_);
    if (status.ok()) status = tcp_->Connect(socket_);
    for (uint32_t round = 0; round < options_.rounds && status.ok(); ++round) {
      for (size_t i = 0; i < rows_.size() && status.ok(); ++i) {
        if (progress) {
          std::fprintf(stderr, "round %u of %u, %zu of %zu ...  \r", round + 1, options_.rounds,
                       i + 1, rows_.size());
        }
        status = Measure(&rows_[i]);
      }
    }
    if (!status.ok()) return status;
    return std::move(rows_);
  }

 private:
  // A paced row follows its TCP row at once: it goes at that one's rate.
  void AddRows(uint64_t bytes, uint64_t connections, uint64_t outstanding) {
    MessageRow row = {.way = MessageWay::kRing,
                      .bytes = bytes,
                      .connections = connections,
                      .outstanding = outstanding};
    rows_.push_back(row);
    row.way = MessageWay::kTcp;
    rows_.push_back(row);
    if (connections == 16 && outstanding == 1) {
      rows_.push_back({.way = MessageWay::kRing,
                       .bytes = bytes,
                       .connections = 1,
                       .outstanding = 16,
                       .paced = true});
    }
  }

  absl::Status Measure(MessageRow* row) {
    const Command command = {.way = static_cast<uint64_t>(row->way),
                             .connections = row->connections};
    absl::Status status = SendBytes(socket_, &command, sizeof(command));
    if (!status.ok()) return status;
    const double slice_ns = options_.seconds * 1e9 / options_.rounds;
    MessageLoad load = {.bytes = row->bytes,
                        .connections = static_cast<uint32_t>(row->connections),
                        .outstanding = static_cast<uint32_t>(row->outstanding),
                        .calls_per_second = 0,
                        .warmup_ns = static_cast<uint64_t>(slice_ns * kWarmupShare),
                        .run_ns = static_cast<uint64_t>(slice_ns)};
    if (row->paced) {
      load.calls_per_second = (row - 1)->calls_per_second.back();
      row->target_per_second.push_back(load.calls_per_second);
    }
    MessageCaller& caller = row->way == MessageWay::kRing ? *ring_ : *tcp_;
    row->client_cost -= caller.cost();
    const absl::StatusOr<MessageSample> sample = caller.Run(load);
    if (!sample.ok()) return sample.status();
    row->calls_per_second.push_back(sample->calls_per_second);
    row->p50_us.push_back(static_cast<double>(sample->latency_ns.Percentile(0.5)) * 1e-3);
    row->p99_us.push_back(static_cast<double>(sample->latency_ns.Percentile(0.99)) * 1e-3);
    status = caller.Pause();
    if (!status.ok()) return status;
    row->client_cost += caller.cost();
    MessageCost server_cost;
    status = ReceiveBytes(socket_, &server_cost, sizeof(server_cost));
    row->server_cost += server_cost;
    return status;
  }

  const RoundsOptions& options_;
  const int socket_;
  const std::unique_ptr<MessageCaller> ring_;
  const std::unique_ptr<MessageCaller> tcp_;
  std::vector<MessageRow> rows_;
};

}  // namespace

absl::StatusOr<std::vector<MessageRow>> RunRounds(const RoundsOptions& options, int socket,
                                                  bool progress) {
  return Rounds(options, socket).Run(progress);
}

absl::Status ServeRounds(const RoundsOptions& options, int socket) {
  const std::unique_ptr<MessageServer> ring = MakeRingServer(options.sides);
  const std::unique_ptr<MessageServer> tcp = MakeTcpServer(options.sides);
  absl::Status status = ring->Accept(socket);
  if (status.ok()) status = tcp->Accept(socket);
  while (status.ok()) {
    Command command = {};
    if (!ReceiveBytes(socket, &command, sizeof(command)).ok()) return absl::OkStatus();
    if (command.connections < 1 || command.connections > options.sides.connections) {
      return absl::DataLossError("the client asks for connections that there are not");
    }
    MessageServer* server = nullptr;
    switch (static_cast<MessageWay>(command.way)) {
      case MessageWay::kRing:
        server = ring.get();
        break;
      case MessageWay::kTcp:
        server = tcp.get();
        break;
    }
    if (server == nullptr) {
      return absl::DataLossError("the client asks for a way that there is not");
    }
    MessageCost cost;
    cost -= server->cost();
    status = server->Serve(static_cast<uint32_t>(command.connections));
    cost += server->cost();
    if (status.ok()) status = SendBytes(socket, &cost, sizeof(cost));
  }
  return status;
}

std::vector<Reach> Reaches(const std::vector<MessageRow>& rows) {
  const auto find = [&rows](const MessageRow& like) -> const MessageRow* {
    for (const MessageRow& row : rows) {
      if (row.way == like.way && row.bytes == like.bytes && row.connections == like.connections &&
          row.outstanding == like.outstanding && row.paced == like.paced) {
        return &row;
      }
    }
    return nullptr;
  };
  std::vector<Reach> reaches;
  for (const MessageRow& tcp : rows) {
    if (tcp.way != MessageWay::kTcp || tcp.connections != 16 || tcp.outstanding != 1) continue;
    MessageRow like = {
        .way = MessageWay::kRing, .bytes = tcp.bytes, .connections = 1, .outstanding = 16};
    if (const MessageRow* ring = find(like); ring != nullptr) {
      reaches.push_back({.bytes = tcp.bytes,
                         .what = "rate",
                         .ratio = MedianRatio(ring->calls_per_second, tcp.calls_per_second),
                         .wanted = kReachRate});
    }
    like.paced = true;
    if (const MessageRow* ring = find(like); ring != nullptr) {
      reaches.push_back({.bytes = tcp.bytes,
                         .what = "p50",
                         .ratio = MedianRatio(tcp.p50_us, ring->p50_us),
                         .wanted = kReachP50});
    }
  }
  return reaches;
}

}  // namespace acre::bench

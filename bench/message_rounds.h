// The experiment of bench/messages: rings and TCP take turns in short slices, several rounds over all loads,
// so that what the machine does meanwhile hits both alike. What is told is the median over the rounds; a
// ratio is the median of the ratios within the rounds.

#ifndef ACRE_BENCH_MESSAGE_ROUNDS_H_
#define ACRE_BENCH_MESSAGE_ROUNDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "bench/message_way.h"
#include "nlohmann/json.hpp"

namespace acre::bench {

struct RoundsOptions {
  MessageOptions sides;
  std::vector<uint64_t> bytes;        // Payloads, of request and response.
  std::vector<uint64_t> connections;  // At most sides.connections.
  std::vector<uint64_t> outstanding;  // On each connection.
  uint32_t rounds = 5;
  double seconds = 0.5;  // Of each load each way, in all rounds together.
};

// A load one way, over all rounds.
struct MessageRow {
  MessageWay way = MessageWay::kRing;
  uint64_t bytes = 0;
  uint64_t connections = 0;
  uint64_t outstanding = 0;
  bool paced = false;  // As an open loop, at the rate that TCP had in the same round.
  // One for each round, in their order.
  std::vector<double> calls_per_second = {};
  std::vector<double> target_per_second = {};  // If paced.
  std::vector<double> p50_us = {};
  std::vector<double> p99_us = {};
  // Of all rounds together; of TCP there is none.
  MessageCost client_cost = {};
  MessageCost server_cost = {};
};

// What rings are to reach against TCP with 16 connections and one call outstanding on each.
struct Reach {
  uint64_t bytes;
  // "rate": a ring's calls per second with 16 outstanding on one connection, times TCP's.
  // "p50": TCP's p50, times the ring's at TCP's rate.
  std::string what;
  double ratio;
  double wanted;
};
constexpr double kReachRate = 9;
constexpr double kReachP50 = 40;

// Runs it all, with a server process at the other end of `socket` that runs ServeRounds() with the same
// options. `progress`: on stderr. Errors: those of MessageCaller.
absl::StatusOr<std::vector<MessageRow>> RunRounds(const RoundsOptions& options, int socket,
                                                  bool progress);
// The other process, till the client closes the socket.
absl::Status ServeRounds(const RoundsOptions& options, int socket);

// Empty where the loads that it compares were not among those that ran.
std::vector<Reach> Reaches(const std::vector<MessageRow>& rows);

// One line for each load, both ways beside each other. verbs/call and trips/call are the client's over rings,
// srv verbs the server's: bench/ycsb has the like for operations.
std::string FormatMessages(const std::vector<MessageRow>& rows);
std::string FormatReaches(const std::vector<Reach>& reaches);
// An array: an object for each row, and one for each reach. A row's verbs_per_call, round_trips_per_call and
// server_verbs_per_call are null over TCP.
nlohmann::json MessagesToJson(const RoundsOptions& options, const std::vector<MessageRow>& rows,
                              const std::vector<Reach>& reaches);

}  // namespace acre::bench

#endif  // ACRE_BENCH_MESSAGE_ROUNDS_H_

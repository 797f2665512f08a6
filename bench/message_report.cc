// The tables and the JSON of bench/messages.

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/machine.h"
#include "bench/message_rounds.h"

namespace acre::bench {
namespace {

const char* WayName(MessageWay way) { return way == MessageWay::kRing ? "ring" : "tcp"; }

}  // namespace

std::string FormatMessages(const std::vector<MessageRow>& rows) {
  std::string table =
      absl::StrFormat("%6s %11s %11s %12s %9s %9s %12s %9s %9s %10s %9s\n", "bytes", "connections",
                      "outstanding", "ring calls/s", "p50 us", "p99 us", "tcp calls/s", "p50 us",
                      "p99 us", "rate ratio", "p50 ratio");
  // The two ways of a load stand behind each other.
  for (size_t i = 0; i + 1 < rows.size(); ++i) {
    const MessageRow& ring = rows[i];
    const MessageRow& tcp = rows[i + 1];
    if (ring.paced || ring.way != MessageWay::kRing) continue;
    absl::StrAppendFormat(
        &table, "%6d %11d %11d %12.0f %9.2f %9.2f %12.0f %9.2f %9.2f %10.2f %9.2f\n", ring.bytes,
        ring.connections, ring.outstanding, Median(ring.calls_per_second), Median(ring.p50_us),
        Median(ring.p99_us), Median(tcp.calls_per_second), Median(tcp.p50_us), Median(tcp.p99_us),
        MedianRatio(ring.calls_per_second, tcp.calls_per_second),
        MedianRatio(tcp.p50_us, ring.p50_us));
  }
  for (const MessageRow& row : rows) {
    if (!row.paced) continue;
    absl::StrAppendFormat(&table,
                          "%6d: ring, %d outstanding, as an open loop at the rate of tcp with 16 "
                          "connections, %.0f calls/s: p50 %.2f us, p99 %.2f us\n",
                          row.bytes, row.outstanding, Median(row.target_per_second),
                          Median(row.p50_us), Median(row.p99_us));
  }
  return table;
}

std::string FormatReaches(const std::vector<Reach>& reaches) {
  if (reaches.empty()) return "";
  std::string table =
      "reach, against tcp with 16 connections, 1 outstanding on each:\n"
      "  rate: of a ring with 16 outstanding, times tcp's; p50: tcp's, times the ring's at tcp's "
      "rate\n";
  for (const Reach& reach : reaches) {
    absl::StrAppendFormat(&table, "%6d B  %-4s  %7.2f times, wanted %2.0f: %s\n", reach.bytes,
                          reach.what, reach.ratio, reach.wanted,
                          reach.ratio >= reach.wanted ? "reached" : "missed");
  }
  return table;
}

nlohmann::json MessagesToJson(const RoundsOptions& options, const std::vector<MessageRow>& rows,
                              const std::vector<Reach>& reaches) {
  const nlohmann::json machine = DescribeMachine();
  const char* const poll = options.sides.poll == PollMode::kBusy ? "busy" : "adaptive";
  nlohmann::json array = nlohmann::json::array();
  for (const MessageRow& row : rows) {
    nlohmann::json target;  // Null: closed loop.
    if (row.paced) target = Median(row.target_per_second);
    array.push_back({{"way", WayName(row.way)},
                     {"fabric", row.way == MessageWay::kRing ? options.sides.fabric : "socket"},
                     {"poll", poll},
                     {"bytes", row.bytes},
                     {"connections", row.connections},
                     {"outstanding", row.outstanding},
                     {"calls_per_second", Median(row.calls_per_second)},
                     {"target_calls_per_second", target},
                     {"latency_us", {{"p50", Median(row.p50_us)}, {"p99", Median(row.p99_us)}}},
                     {"rounds", options.rounds},
                     {"machine", machine}});
  }
  for (const Reach& reach : reaches) {
    array.push_back({{"reach", reach.what},
                     {"bytes", reach.bytes},
                     {"ratio", reach.ratio},
                     {"wanted", reach.wanted}});
  }
  return array;
}

}  // namespace acre::bench

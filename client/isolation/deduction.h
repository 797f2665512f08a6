// Deduction: from a history to its dependency graph, and what is wrong before any cycle is looked for.

#ifndef ACRE_CLIENT_ISOLATION_DEDUCTION_H_
#define ACRE_CLIENT_ISOLATION_DEDUCTION_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "client/isolation/checker.h"
#include "client/isolation/graph.h"
#include "client/isolation/history.h"
#include "client/isolation/write_table.h"

namespace acre::isolation {

enum class Standing : uint8_t {
  kOut,        // It may as well not be there: it wrote nothing, and what it saw does not count.
  kReader,     // It did not commit. What it saw counts, what it wrote does not.
  kCommitted,  // It returned so, or its outcome is unknown and its writes were seen.
};

// What one transaction saw of one key, its own writes apart.
struct Read {
  uint32_t transaction = 0;
  uint32_t op = 0;
  uint32_t own_count = 0;     // Of a list: so many elements at its end are its own appends.
  bool is_before_own = true;  // It had not written the key before.
};

// Threads: one at a time.
class Deduction {
 public:
  // Both outlive it. `with_uncommitted`: what transactions saw that did not commit counts as well, and only
  // what is wrong with them is found.
  Deduction(const History& history, const WriteTable& writes, bool with_uncommitted);

  void Run();

  const DependencyGraph& graph() const { return graph_; }
  Standing StandingOf(size_t transaction) const { return standings_[transaction]; }
  // The read that tells the order of `key`, a list; null if nobody read it.
  const Read* WitnessOf(uint32_t key) const {
    return witnesses_[key].has_value() ? &*witnesses_[key] : nullptr;
  }
  const std::map<Anomaly, Finding>& findings() const { return findings_; }

 private:
  // The text is made for the first of its kind only. `culprit` is the reader, if there is one.
  void Found(Anomaly anomaly, uint32_t culprit, std::vector<size_t> others,
             absl::FunctionRef<std::string()> text);

  void DecideStandings();
  void SpreadCommitment();
  void ScanReads();
  void AddProcessEdges();

  class InternalScan;      // internal_scan.cc
  class ListVersions;      // list_versions.cc
  class RegisterVersions;  // register_versions.cc
  void DeduceLists();
  void DeduceRegisters();

  absl::Span<const Read> ReadsOf(uint32_t key) const {
    return absl::MakeConstSpan(reads_).subspan(begins_[key], begins_[key + 1] - begins_[key]);
  }
  const Op& OpOf(const Read& read) const {
    return history_.transactions[read.transaction].ops[read.op];
  }
  bool IsCommitted(uint32_t transaction) const {
    return standings_[transaction] == Standing::kCommitted;
  }
  std::string Name(uint32_t transaction) const;  // With its operations, for people.
  std::string Shown(uint32_t transaction, uint32_t op) const;

  const History& history_;
  const WriteTable& writes_;
  const bool with_uncommitted_;
  DependencyGraph graph_;
  std::vector<Standing> standings_;
  std::vector<Read> reads_;     // By key.
  std::vector<size_t> begins_;  // Of each key's reads.
  std::vector<absl::optional<Read>> witnesses_;
  std::map<Anomaly, Finding> findings_;
};

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_DEDUCTION_H_

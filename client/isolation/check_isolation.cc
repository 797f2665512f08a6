// check_isolation: judges a saved history of transactions. `check_isolation --help` says how to use it.

#include <algorithm>
#include <iostream>
#include <string>

#include "absl/status/statusor.h"
#include "client/isolation/checker.h"
#include "client/isolation/history.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/command_line.h"

DEFINE_string(level, "strictly serializable",
              "what the store promises: the weakest level whose loss makes the exit code 1");
DEFINE_uint64(work_max, 5'000'000,
              "looks at an edge, for each kind of cycle, in search of the smallest example");

namespace acre::isolation {
namespace {

constexpr int kExitBroken = 1;
constexpr int kExitUsage = 2;

constexpr char kUsage[] =
    R"(check_isolation: which isolation level did a recorded history of transactions keep?

  check_isolation FILE...

Each FILE is a history as Jepsen and Elle write them, one EDN map per event, of appends to lists and
reads of them, and of writes and reads of registers (client/isolation/history.h has the exact form):

  {:index 0, :type :invoke, :process 2, :time 100, :f :txn, :value [[:append x 5] [:r y nil]]}
  {:index 1, :type :ok, :process 2, :time 180, :f :txn, :value [[:append x 5] [:r y [3 4]]]}

For each kind of anomaly that is found (Adya's G0, G1a, G1b, G1c, G-single, G2, lost updates, and others;
docs/isolation.md has them all) a smallest example is printed: the transactions, T and the place of their
invocation, and for each step why the one must come before the other. Then each level, from weak to
strong, and whether it was kept:

  read uncommitted, read committed, snapshot isolation, serializable, session serializable,
  strictly serializable, opaque

Exit code: 0 each FILE kept --level; 1 one did not; 2 used wrongly, or a FILE is no history that can be
judged.)";

int Judge(const std::string& path, Level promised) {
  const absl::StatusOr<History> history = LoadHistory(path);
  if (!history.ok()) {
    std::cerr << "check_isolation: " << history.status().message() << "\n";
    return kExitUsage;
  }
  CheckOptions options;
  options.work_max = FLAGS_work_max;
  const absl::StatusOr<Report> report = Check(*history, options);
  if (!report.ok()) {
    std::cerr << "check_isolation: " << path << ": " << report.status().message() << "\n";
    return kExitUsage;
  }
  const bool is_kept = report->Keeps(promised);
  std::cout << ToText(*report) << path << ": " << (is_kept ? "" : "NOT ") << NameOf(promised)
            << ", " << report->transactions << " transactions, " << report->committed
            << " of them committed, on " << report->keys << " keys\n";
  return is_kept ? 0 : kExitBroken;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) {
    std::cerr << "check_isolation: " << line.status().message() << "\n";
    return kExitUsage;
  }
  if (line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  size_t level = 0;
  while (level < kLevels && NameOf(static_cast<Level>(level)) != FLAGS_level) ++level;
  if (line->arguments.empty() || level == kLevels) {
    std::cerr << "check_isolation: "
              << (level == kLevels ? "--level is none of the levels" : "give it a FILE")
              << "; --help says more\n";
    return kExitUsage;
  }
  int worst = 0;
  for (const std::string& path : line->arguments) {
    worst = std::max(worst, Judge(path, static_cast<Level>(level)));
  }
  return worst;
}

}  // namespace
}  // namespace acre::isolation

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::isolation::Main(argc, argv);
}

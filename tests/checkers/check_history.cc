// check_history: judges a saved history. `check_history --help` says how to use it.

#include <iostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/command_line.h"
#include "tests/checkers/history.h"
#include "tests/checkers/linearizability.h"

DEFINE_uint64(work_max, 30'000'000,
              "looks at an operation after which a key is given up as too hard");
DEFINE_uint64(violations, 10, "how many keys to print that are not linearizable");

namespace acre::checkers {
namespace {

constexpr int kExitViolation = 1;
constexpr int kExitUsage = 2;
constexpr int kExitTooHard = 3;

constexpr char kUsage[] = R"(check_history: is a recorded history of single keys linearizable?

  check_history FILE

FILE is a history as tests/checkers/history.h describes it: one line per operation or cut. Each key
that is not linearizable is printed with the smallest set of its operations found that shows it, and
why those are impossible.

Exit code: 0 linearizable; 1 not; 2 used wrongly, or FILE is no history; 3 undecided: too hard.)";

int Judge(const std::string& path) {
  const absl::StatusOr<History> history = LoadHistory(path);
  if (!history.ok()) {
    std::cerr << history.status().message() << "\n";
    return kExitUsage;
  }
  CheckOptions options;
  options.work_max_per_key = FLAGS_work_max;
  options.violations_max = FLAGS_violations;
  const CheckResult result = CheckLinearizability(*history, options);
  std::cout << ToText(result);
  const std::string of = absl::StrCat(result.operations, " operations on ", result.keys, " keys\n");
  switch (result.verdict) {
    case Verdict::kOk:
      std::cout << "linearizable: " << of;
      return 0;
    case Verdict::kViolation:
      std::cout << "NOT linearizable: " << result.keys_violated << " keys, of " << of;
      return kExitViolation;
    case Verdict::kTooHard:
      std::cout << "undecided: " << result.keys_too_hard.size() << " keys, of " << of;
      return kExitTooHard;
  }
  return kExitUsage;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) {
    std::cerr << "check_history: " << line.status().message() << "\n";
    return kExitUsage;
  }
  if (line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  if (line->arguments.size() != 1) {
    std::cerr << "check_history: give it one FILE; --help says more\n";
    return kExitUsage;
  }
  return Judge(line->arguments[0]);
}

}  // namespace
}  // namespace acre::checkers

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::checkers::Main(argc, argv);
}

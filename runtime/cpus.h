// On which of the machine's CPUs threads run: lists of them, as `--cpus` flags and the kernel's files have them.
//
// Where there are more busy threads than cores, the kernel's choice decides what a program does: a client beside its
// server on one core is served in turns of milliseconds, one on another core in microseconds.

#ifndef ACRE_RUNTIME_CPUS_H_
#define ACRE_RUNTIME_CPUS_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace acre {

// "0,2-5": numbers and ranges, spaces around them do not matter; ascending, each once. "": none.
// InvalidArgument: it is no such list; says what is wrong with it.
absl::StatusOr<std::vector<int>> ParseCpus(absl::string_view list);

// Those that this process may use (sched_getaffinity), ascending. At least one.
std::vector<int> UsableCpus();

// InvalidArgument: the process may not use one of `cpus`; names it, and those that it may.
absl::Status CheckCpus(absl::Span<const int> cpus);

// The calling thread, and those that it starts, run on `cpus` only, which is not empty. InvalidArgument: as
// CheckCpus(), also where a CPU has gone since.
absl::Status StayOnCpus(absl::Span<const int> cpus);

}  // namespace acre

#endif  // ACRE_RUNTIME_CPUS_H_

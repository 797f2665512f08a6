// ProcessCrew: a crew of several processes, each a copy of this program with threads of its own, that run
// slices in step and whose results are added up.
//
// The parent generates no load. Parent and child talk in messages over a socket pair (subprocess.h), one
// line of text each; a child answers in its order:
//
//   connect            "picked", and for each path its name and its fabric
//   load RATE          "loaded"
//   begin PATH MAX     nothing; when the slice is over "slice" and the three numbers of a SliceEnd
//   end                nothing, but the slice ends. Ignored when it has ended by itself.
//   results            "results", and for each path the numbers of a PathTotal and its histogram
//
// or "error", a status code and its message. Which records were inserted meanwhile they do not tell each other:
// all know it from memory that they share (inserted_records.h). A child ends when its parent closes the socket, or dies.

#ifndef ACRE_BENCH_PROCESS_CREW_H_
#define ACRE_BENCH_PROCESS_CREW_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "bench/crew.h"
#include "bench/subprocess.h"

namespace acre::bench {

// Drives children that run ServeCrew(). Errors of the crew's calls name the child.
std::unique_ptr<Crew> MakeProcessCrew(std::vector<std::unique_ptr<Subprocess>> children);

// The child's side: does with `crew` what the parent says, till it closes the socket. Errors: what was told
// to the parent, or DataLoss: it talks nonsense.
absl::Status ServeCrew(Crew* crew, int socket);

// What travels. Nothing: the text is none that the other function makes.
std::string SerializeTotals(const std::vector<PathTotal>& totals);
absl::optional<std::vector<PathTotal>> ParseTotals(absl::string_view text);

}  // namespace acre::bench

#endif  // ACRE_BENCH_PROCESS_CREW_H_

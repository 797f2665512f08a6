// Crew: the threads of a load generator, which run slices together: in this process, or in others.
//
//   picked = crew->Connect();
//   crew->StartLoad(rate);                                   // Results begin anew.
//   for each slice, of each path in turn:
//     crew->BeginSlice(path, operations_max);
//     wait for its time, or till crew->SliceIsOver();
//     end = crew->EndSlice();
//   totals = crew->Results();
//
// Threads: all calls from one. Its own threads wait at a barrier between slices.
// Errors:  Connect - what kept a client from connecting. All - Unavailable: a process has died, the
//          message says which and how. Nothing goes on after an error. What fails during a slice is
//          counted in the results.

#ifndef ACRE_BENCH_CREW_H_
#define ACRE_BENCH_CREW_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/driver.h"
#include "bench/inserted_records.h"
#include "bench/workload.h"

namespace acre::bench {

// How the operations of a row travel.
struct LoadPath {
  Path path = Path::kAuto;
  PutPath put_path = PutPath::kAuto;
};
// "mapped"; with another way to put than auto: "mapped/one_sided".
std::string NameOf(Path path, PutPath put_path);

struct CrewOptions {
  Workload workload;
  uint64_t records_count = 0;
  std::vector<LoadPath> paths;
  uint32_t threads = 1;
  uint64_t seed = 1;       // Differs between the processes of a run.
  bool open_loop = false;  // StartLoad() gives rates.
  DriverOptions driver;    // driver.client.path and put_path are set for each of the paths.
};

// What was picked on a path.
struct PickedPath {
  Path path;
  std::string fabric;
};

struct SliceEnd {
  uint64_t operations = 0;  // Done in this slice, all threads together.
  // The most that one thread has done on the slice's path since StartLoad().
  uint64_t operations_most = 0;
  uint64_t errors = 0;  // Of all paths, since the beginning.
};

// What came of one path since StartLoad(), all threads together.
struct PathTotal {
  double operations_per_second = 0;  // The sum of the threads' rates.
  Result result;
};

class Crew {
 public:
  virtual ~Crew() = default;

  // Once, first.
  virtual absl::StatusOr<std::vector<PickedPath>> Connect() = 0;
  // All results and schedules begin anew. `operations_per_second`: of all threads together; in a closed
  // loop it does not count.
  virtual absl::Status StartLoad(double operations_per_second) = 0;
  // `operations_max`: of each thread.
  virtual absl::Status BeginSlice(size_t path_index, uint64_t operations_max) = 0;
  // All threads have ended by themselves. Requires: between BeginSlice() and EndSlice().
  virtual bool SliceIsOver() = 0;
  // Waits for what is under way.
  virtual absl::StatusOr<SliceEnd> EndSlice() = 0;
  // One for each path.
  virtual absl::StatusOr<std::vector<PathTotal>> Results() = 0;
};

// `records`: those that this crew inserts among, perhaps together with other processes' crews; they outlive it.
std::unique_ptr<Crew> MakeLocalCrew(const CrewOptions& options, InsertedRecords* records);

}  // namespace acre::bench

#endif  // ACRE_BENCH_CREW_H_

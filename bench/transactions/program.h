// Program: another program that a benchmark starts and ends: kv_server, redis-server.
//
// Ownership:  a Program owns its process: told to end, and reaped when the object goes. It is told so, too, when the thread
//             that started it ends, by the kernel, however that comes.
// Threads:    confined to one, which outlives it.

#ifndef ACRE_BENCH_TRANSACTIONS_PROGRAM_H_
#define ACRE_BENCH_TRANSACTIONS_PROGRAM_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre::bench {

class Program {
 public:
  // `command`: the program, looked for in PATH if it has no slash, and its arguments. What it prints goes to `log`.
  // Errors: the kernel's; what cannot be executed ends with exit code 127.
  static absl::StatusOr<std::unique_ptr<Program>> Start(std::vector<std::string> command,
                                                        std::string log);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  // The line of the log in which `text` stands, once it does. Unavailable: the program has ended; DeadlineExceeded: two
  // minutes have passed. The message has the log.
  absl::StatusOr<std::string> WaitForLine(absl::string_view text);
  // It has not ended by itself. Unavailable: it has; the message has the log.
  absl::Status CheckAlive();

 private:
  Program(std::string name, pid_t pid, std::string log)
      : name_(std::move(name)), pid_(pid), log_(std::move(log)) {}
  std::string ReadLog() const;

  const std::string name_;
  pid_t pid_;  // 0: reaped.
  const std::string log_;
};

// The program of a target of ours, "server/kv_server": below the folder that we run in, or two above the file that runs
// here. NotFound: says how it is built.
absl::StatusOr<std::string> FindProgram(const std::string& path);

// A folder of the benchmark's own, which goes with the object and all that is in it.
class ScratchFolder {
 public:
  static absl::StatusOr<std::unique_ptr<ScratchFolder>> Create();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}

  const std::string path_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_PROGRAM_H_

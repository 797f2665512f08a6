// Shell: the commands of kv_cli, apart from where their words come from and where their output goes.

#ifndef ACRE_CLIENT_SHELL_H_
#define ACRE_CLIENT_SHELL_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace acre {

// The store as the shell sees it: a Client, or a test's map.
class ShellStore {
 public:
  virtual ~ShellStore() = default;
  virtual absl::StatusOr<std::string> Get(absl::string_view key) = 0;
  virtual absl::Status Put(absl::string_view key, absl::string_view value) = 0;
  virtual absl::Status Delete(absl::string_view key) = 0;
  virtual std::vector<absl::StatusOr<std::string>> MultiGet(
      absl::Span<const absl::string_view> keys) = 0;
  // Of one server, an address as Servers() has it.
  virtual absl::StatusOr<std::string> Stats(const std::string& server) = 0;
  virtual std::vector<std::string> Servers() = 0;
  // Holds the lock till Unlock(), or till the store goes. Gives its token. `timeout_ms`: as Client::Lock.
  virtual absl::StatusOr<uint64_t> Lock(const std::string& name, int64_t timeout_ms) = 0;
  virtual absl::Status Unlock(const std::string& name) = 0;
  virtual absl::StatusOr<std::string> Locks(const std::string& server) = 0;
  virtual absl::Status ForceUnlock(const std::string& name, uint64_t token) = 0;
  virtual absl::StatusOr<std::string> Transactions(const std::string& server) = 0;
  // `id`: as Transactions() shows it.
  virtual absl::Status EndTransaction(const std::string& id, bool commit) = 0;
};

// How a value is printed by get.
enum class ValueFormat {
  kQuoted,   // For people: in quotes, with escapes, and a line end.
  kRawLine,  // Its bytes and a line end: for programs that send several commands.
  kRaw,      // Its bytes and nothing else.
};

struct ShellCommand {
  absl::string_view name;
  absl::string_view arguments;
  absl::string_view help;
  size_t arguments_min;
  size_t arguments_max;
};
// All commands, for help and completion.
absl::Span<const ShellCommand> ShellCommands();
// One line for each command.
std::string ShellHelp();

class Shell {
 public:
  enum class Outcome { kOk, kFailed, kUsage, kQuit };

  // Borrows all.
  Shell(ShellStore* store, ValueFormat format, std::ostream* out, std::ostream* errors);

  // kUsage: no such command, or not with so many arguments. Nothing was sent then.
  static absl::Status Judge(absl::Span<const std::string> words);
  // Runs one command. No words: nothing happens.
  Outcome Run(absl::Span<const std::string> words);

 private:
  Outcome Get(const std::string& key);
  Outcome MultiGet(absl::Span<const std::string> keys);
  Outcome Stats(const std::string& server);
  Outcome Locks(const std::string& server);
  // `one` for each server, behind a line that names it if there are several.
  Outcome OfAllServers(Outcome (Shell::*one)(const std::string&));
  Outcome Lock(absl::Span<const std::string> arguments);
  Outcome ForceUnlock(const std::string& name, const std::string& token);
  Outcome Transactions(const std::string& server);
  Outcome Resolve(absl::Span<const std::string> arguments);
  Outcome Servers();
  Outcome Tell(const absl::Status& status);

  ShellStore* const store_;
  const ValueFormat format_;
  std::ostream* const out_;
  std::ostream* const errors_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_SHELL_H_

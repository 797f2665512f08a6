#include "client/shell.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/command_line.h"
#include "glog/logging.h"

namespace acre {
namespace {

constexpr ShellCommand kCommands[] = {
    {"get", "KEY", "prints the value of a key", 1, 1},
    {"put", "KEY VALUE", "writes a record, new or not", 2, 2},
    {"del", "KEY", "deletes a record", 1, 1},
    {"mget", "KEY...", "gets many keys at once, one line for each, values in quotes", 1, SIZE_MAX},
    {"stats", "[SERVER]", "prints facts and counters of a server, or of all", 0, 1},
    {"servers", "", "lists the servers in the order of their numbers, and whether they answer", 0,
     0},
    {"locks", "[SERVER]", "lists the locks of a server, or of all: who holds and awaits them", 0,
     1},
    {"lock", "NAME [MS]", "takes a lock, for as long as this shell runs; waits at most MS", 1, 2},
    {"unlock", "NAME", "gives it back", 1, 1},
    {"force-unlock", "NAME TOKEN", "takes a lock from its holder, whose token locks shows", 2, 2},
    {"transactions", "[SERVER]", "lists what transactions hold locks at a server, or at all", 0, 1},
    {"resolve", "ID commit|abort", "ends a transaction whose coordinator and servers can not", 2,
     3},
    {"help", "", "prints this", 0, 0},
    {"quit", "", "ends the shell, as does end of file (Ctrl-D)", 0, 0},
};

constexpr char kResolveGivesUp[] =
    "This ends the transaction at every server that answers now, as you say. A server that does "
    "not\n"
    "answer may have ended it the other way: then it has happened in part, which nothing mends, "
    "and\n"
    "whoever reads sees that. If that server comes back with its memory, wait for it instead.\n"
    "To do it all the same: resolve ";

const ShellCommand* FindCommand(absl::string_view name) {
  if (name == "exit") name = "quit";
  for (const ShellCommand& command : kCommands) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

}  // namespace

absl::Span<const ShellCommand> ShellCommands() { return kCommands; }

std::string ShellHelp() {
  std::string help;
  for (const ShellCommand& command : kCommands) {
    absl::StrAppendFormat(&help, "  %-23s %s\n", absl::StrCat(command.name, " ", command.arguments),
                          command.help);
  }
  return help;
}

Shell::Shell(ShellStore* store, ValueFormat format, std::ostream* out, std::ostream* errors)
    : store_(store), format_(format), out_(out), errors_(errors) {}

absl::Status Shell::Judge(absl::Span<const std::string> words) {
  if (words.empty()) return absl::OkStatus();
  const ShellCommand* const command = FindCommand(words[0]);
  if (command == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown command ", Quote(words[0]), ": help lists them"));
  }
  const size_t arguments = words.size() - 1;
  if (arguments >= command->arguments_min && arguments <= command->arguments_max) {
    return absl::OkStatus();
  }
  absl::string_view hint = "";
  if (arguments > command->arguments_max && command->arguments_max > 0) {
    hint = "; put quotes around what contains spaces";
  }
  return absl::InvalidArgumentError(
      absl::StrCat("usage: ", command->name, " ", command->arguments, hint));
}

Shell::Outcome Shell::Run(absl::Span<const std::string> words) {
  if (words.empty()) return Outcome::kOk;
  const absl::Status judged = Judge(words);
  if (!judged.ok()) {
    *errors_ << judged.message() << "\n";
    return Outcome::kUsage;
  }
  const absl::string_view name = FindCommand(words[0])->name;
  if (name == "get") return Get(words[1]);
  if (name == "put") return Tell(store_->Put(words[1], words[2]));
  if (name == "del") return Tell(store_->Delete(words[1]));
  if (name == "mget") return MultiGet(words.subspan(1));
  if (name == "stats") {
    return words.size() == 1 ? OfAllServers(&Shell::Stats) : Stats(words[1]);
  }
  if (name == "locks") {
    return words.size() == 1 ? OfAllServers(&Shell::Locks) : Locks(words[1]);
  }
  if (name == "lock") return Lock(words.subspan(1));
  if (name == "unlock") return Tell(store_->Unlock(words[1]));
  if (name == "force-unlock") return ForceUnlock(words[1], words[2]);
  if (name == "transactions") {
    return words.size() == 1 ? OfAllServers(&Shell::Transactions) : Transactions(words[1]);
  }
  if (name == "resolve") return Resolve(words.subspan(1));
  if (name == "servers") return Servers();
  if (name == "quit") return Outcome::kQuit;
  CHECK_EQ(name, "help");
  *out_ << ShellHelp();
  return Outcome::kOk;
}

Shell::Outcome Shell::Get(const std::string& key) {
  const absl::StatusOr<std::string> value = store_->Get(key);
  if (!value.ok()) return Tell(value.status());
  *out_ << (format_ == ValueFormat::kQuoted ? Quote(*value) : *value);
  if (format_ != ValueFormat::kRaw) *out_ << "\n";
  return Outcome::kOk;
}

Shell::Outcome Shell::MultiGet(absl::Span<const std::string> keys) {
  const std::vector<absl::string_view> views(keys.begin(), keys.end());
  const std::vector<absl::StatusOr<std::string>> values = store_->MultiGet(views);
  Outcome outcome = Outcome::kOk;
  for (const absl::StatusOr<std::string>& value : values) {
    if (value.ok()) {
      *out_ << Quote(*value) << "\n";
    } else if (absl::IsNotFound(value.status())) {
      *out_ << "(not found)\n";
      outcome = Outcome::kFailed;
    } else {
      *out_ << "(failed)\n";
      outcome = Tell(value.status());
    }
  }
  return outcome;
}

Shell::Outcome Shell::Stats(const std::string& server) {
  const absl::StatusOr<std::string> text = store_->Stats(server);
  if (!text.ok()) return Tell(text.status());
  *out_ << *text;
  return Outcome::kOk;
}

Shell::Outcome Shell::Locks(const std::string& server) {
  const absl::StatusOr<std::string> text = store_->Locks(server);
  if (!text.ok()) return Tell(text.status());
  *out_ << *text;
  return Outcome::kOk;
}

Shell::Outcome Shell::Lock(absl::Span<const std::string> arguments) {
  int64_t timeout_ms = INT64_MAX;
  if (arguments.size() == 2 && !absl::SimpleAtoi(arguments[1], &timeout_ms)) {
    *errors_ << "usage: lock NAME [MS]: " << arguments[1] << " is no number\n";
    return Outcome::kUsage;
  }
  const absl::StatusOr<uint64_t> token = store_->Lock(arguments[0], timeout_ms);
  if (!token.ok()) return Tell(token.status());
  *out_ << "token " << *token << "\n";
  return Outcome::kOk;
}

Shell::Outcome Shell::ForceUnlock(const std::string& name, const std::string& token) {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(token, &number)) {
    *errors_ << "usage: force-unlock NAME TOKEN: " << token << " is no number; locks shows it\n";
    return Outcome::kUsage;
  }
  return Tell(store_->ForceUnlock(name, number));
}

Shell::Outcome Shell::Transactions(const std::string& server) {
  const absl::StatusOr<std::string> text = store_->Transactions(server);
  if (!text.ok()) return Tell(text.status());
  *out_ << *text;
  return Outcome::kOk;
}

Shell::Outcome Shell::Resolve(absl::Span<const std::string> arguments) {
  const std::string& end = arguments[1];
  const bool is_sure = arguments.size() == 3 && arguments[2] == "anyway";
  if ((end != "commit" && end != "abort") || (arguments.size() == 3 && !is_sure)) {
    *errors_ << "usage: resolve ID commit|abort\n";
    return Outcome::kUsage;
  }
  if (!is_sure) {
    *errors_ << kResolveGivesUp << arguments[0] << " " << end << " anyway\n";
    return Outcome::kUsage;
  }
  return Tell(store_->EndTransaction(arguments[0], end == "commit"));
}

Shell::Outcome Shell::OfAllServers(Outcome (Shell::*one)(const std::string&)) {
  const std::vector<std::string> servers = store_->Servers();
  Outcome outcome = Outcome::kOk;
  for (size_t i = 0; i < servers.size(); ++i) {
    if (servers.size() > 1) *out_ << "[server " << i + 1 << " " << servers[i] << "]\n";
    const Outcome of_this = (this->*one)(servers[i]);
    if (of_this != Outcome::kOk) outcome = of_this;
  }
  return outcome;
}

Shell::Outcome Shell::Servers() {
  const std::vector<std::string> servers = store_->Servers();
  Outcome outcome = Outcome::kOk;
  for (size_t i = 0; i < servers.size(); ++i) {
    const absl::Status status = store_->Stats(servers[i]).status();
    *out_ << i + 1 << " " << servers[i] << " " << (status.ok() ? "answers" : "does not answer")
          << "\n";
    if (!status.ok()) outcome = Tell(status);
  }
  return outcome;
}

Shell::Outcome Shell::Tell(const absl::Status& status) {
  if (status.ok()) {
    // Programs learn it from the exit code.
    if (format_ != ValueFormat::kRaw) *out_ << "OK\n";
    return Outcome::kOk;
  }
  if (absl::IsNotFound(status)) {
    *errors_ << "(not found)\n";
  } else {
    *errors_ << "error: " << status.message() << " (" << absl::StatusCodeToString(status.code())
             << ")\n";
  }
  return Outcome::kFailed;
}

}  // namespace acre

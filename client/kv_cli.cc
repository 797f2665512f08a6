// kv_cli: the shell. `kv_cli --help` says how to use it.

#include <editline/readline.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "client/command_line.h"
#include "client/shell.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/command_line.h"

DEFINE_string(
    servers, "127.0.0.1:7400",
    "HOST:PORT of the server; of a cluster, of any of its servers, or of several, a comma list");
DEFINE_string(path, "auto", "how a Get travels: auto, mapped, one_sided, rpc, tcp");
DEFINE_string(
    put_path, "auto",
    "how a Put travels: auto, rpc, one_sided (to a server with --trust: written into its memory "
    "by this process)");
DEFINE_string(
    fabric, "auto",
    "network of one-sided operations and rings: shm, verbs, tcp; auto: the first of them that "
    "is there and reaches the server");
DEFINE_string(device, "",
              "RDMA card for fabric verbs: its name, or an address of this machine that is on it. "
              "Default: the first with a link");
DEFINE_string(secret_file, "",
              "file with the secret of the server, where it asks for one: see kv_server --help");

namespace acre {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kHistoryLinesMax = 1000;

constexpr char kUsageHead[] = R"(kv_cli: shell of the Acre key-value store.

  kv_cli --servers=HOST:PORT get KEY       one command
  kv_cli --servers=HOST:PORT               a shell; or commands from standard input, one a line
  kv_cli --servers=HOST:PORT,HOST:PORT     the same on a cluster: one that answers tells of all others

Commands:
)";
constexpr char kUsageTail[] = R"(
Any bytes can be typed. In a line of the shell, words in "double quotes" take the escapes \xHH \n \r
\t \b \a \\ \", words in 'single quotes' only \', all others stand as they are. The same goes for an
argument of a single command that brings double quotes of its own: kv_cli put '"a\x00b"' value.
`kv_cli put KEY -` takes the value from standard input, to its end. A key that begins with a dash
goes behind `--`.

get prints the value in quotes on a terminal, else its plain bytes.

Exit code: 0 done; 1 not found, or failed; 2 used wrongly.)";

class ClientStore : public ShellStore {
 public:
  explicit ClientStore(std::unique_ptr<Client> client) : client_(std::move(client)) {}

  absl::StatusOr<std::string> Get(absl::string_view key) override { return client_->Get(key); }
  absl::Status Put(absl::string_view key, absl::string_view value) override {
    return client_->Put(key, value);
  }
  absl::Status Delete(absl::string_view key) override { return client_->Delete(key); }
  std::vector<absl::StatusOr<std::string>> MultiGet(
      absl::Span<const absl::string_view> keys) override {
    return client_->MultiGet(keys);
  }
  absl::StatusOr<std::string> Stats(const std::string& server) override {
    return client_->ServerStats(server);
  }
  std::vector<std::string> Servers() override { return client_->Servers(); }
  absl::StatusOr<uint64_t> Lock(const std::string& name, int64_t timeout_ms) override {
    if (locks_.contains(name)) return absl::AlreadyExistsError("this shell holds it already");
    absl::StatusOr<NamedLock> lock = client_->Lock(name, timeout_ms);
    if (!lock.ok()) return lock.status();
    const uint64_t token = lock->token;
    locks_[name] = *std::move(lock);
    return token;
  }
  absl::Status Unlock(const std::string& name) override {
    const auto found = locks_.find(name);
    if (found == locks_.end()) return absl::NotFoundError("this shell does not hold it");
    absl::Status status = client_->Unlock(found->second);
    // After a timeout it may still be held.
    if (!absl::IsDeadlineExceeded(status)) locks_.erase(found);
    return status;
  }
  absl::StatusOr<std::string> Locks(const std::string& server) override {
    return client_->Locks(server);
  }
  absl::Status ForceUnlock(const std::string& name, uint64_t token) override {
    return client_->ForceUnlock(name, token);
  }

  absl::StatusOr<std::string> Transactions(const std::string& server) override {
    return client_->Transactions(server);
  }
  absl::Status EndTransaction(const std::string& id, bool commit) override {
    return client_->EndTransaction(id, commit);
  }

  const Client& client() const { return *client_; }

 private:
  const std::unique_ptr<Client> client_;
  std::map<std::string, NamedLock> locks_;  // That are held, by name.
};

absl::StatusOr<std::unique_ptr<ClientStore>> Connect(const ClientOptions& options) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(options);
  if (!client.ok()) return client.status();
  return std::make_unique<ClientStore>(*std::move(client));
}

absl::StatusOr<ClientOptions> ReadOptions() {
  const absl::StatusOr<Path> path = ParsePath(FLAGS_path);
  if (!path.ok()) return path.status();
  ClientOptions options;
  options.servers = absl::StrSplit(FLAGS_servers, ',');
  options.fabric = FLAGS_fabric;
  options.device = FLAGS_device;
  options.path = *path;
  const absl::StatusOr<PutPath> put_path = ParsePutPath(FLAGS_put_path);
  if (!put_path.ok()) return put_path.status();
  options.put_path = *put_path;
  options.secret_file = FLAGS_secret_file;
  return options;
}

int TellError(const absl::Status& status) {
  std::cerr << "kv_cli: " << status.message() << std::endl;
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailed;
}

int ExitCode(Shell::Outcome outcome) {
  switch (outcome) {
    case Shell::Outcome::kOk:
    case Shell::Outcome::kQuit:
      return 0;
    case Shell::Outcome::kFailed:
      return kExitFailed;
    case Shell::Outcome::kUsage:
      return kExitUsage;
  }
  LOG(FATAL) << "not an Outcome";
}

int RunOneCommand(const ClientOptions& options, absl::Span<const std::string> arguments) {
  std::vector<std::string> words;
  for (const std::string& argument : arguments) {
    absl::StatusOr<std::string> word = UnquoteArgument(argument);
    if (!word.ok()) {
      return TellError(
          absl::InvalidArgumentError(absl::StrCat(argument, ": ", word.status().message())));
    }
    words.push_back(*std::move(word));
  }
  const absl::Status judged = Shell::Judge(words);
  if (!judged.ok()) return TellError(judged);
  if (words[0] == "help") {
    std::cout << ShellHelp();
    return 0;
  }
  if (words[0] == "put" && arguments[2] == "-") {
    words[2].assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  const absl::StatusOr<std::unique_ptr<ClientStore>> store = Connect(options);
  if (!store.ok()) return TellError(store.status());
  const bool for_people = isatty(STDOUT_FILENO) != 0;
  Shell shell(store->get(), for_people ? ValueFormat::kQuoted : ValueFormat::kRaw, &std::cout,
              &std::cerr);
  const int code = ExitCode(shell.Run(words));
  std::cout.flush();
  if (!std::cout) return TellError(absl::DataLossError("cannot write to standard output"));
  return code;
}

Shell::Outcome RunLine(Shell* shell, absl::string_view line) {
  const absl::StatusOr<std::vector<std::string>> words = SplitCommandLine(line);
  if (words.ok()) return shell->Run(*words);
  std::cerr << words.status().message() << "\n";
  return Shell::Outcome::kUsage;
}

// Commands from a file or a program. The first that fails decides the exit code; the rest is run.
int RunLines(const ClientOptions& options) {
  const absl::StatusOr<std::unique_ptr<ClientStore>> store = Connect(options);
  if (!store.ok()) return TellError(store.status());
  const bool for_people = isatty(STDOUT_FILENO) != 0;
  Shell shell(store->get(), for_people ? ValueFormat::kQuoted : ValueFormat::kRawLine, &std::cout,
              &std::cerr);
  int code = 0;
  std::string line;
  while (std::getline(std::cin, line)) {
    const Shell::Outcome outcome = RunLine(&shell, line);
    std::cout.flush();
    if (code == 0) code = ExitCode(outcome);
    if (outcome == Shell::Outcome::kQuit || !std::cout) break;
  }
  return code;
}

// One match of the word for each call, then null: what readline asks for.
char* NextCommand(const char* text, int state) {
  static size_t next = 0;
  if (state == 0) next = 0;
  while (next < ShellCommands().size()) {
    const absl::string_view name = ShellCommands()[next++].name;
    if (absl::StartsWith(name, text)) return strdup(std::string(name).c_str());
  }
  return nullptr;
}

char** Complete(const char* text, int start, int) {
  rl_attempted_completion_over = 1;  // No names of files.
  if (start > 0) return nullptr;
  return rl_completion_matches(text, NextCommand);
}

// "" when there is no place for it.
std::string HistoryFile() {
  const char* const state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && state[0] == '/') {
    const std::string folder = absl::StrCat(state, "/acre");
    mkdir(folder.c_str(), 0700);  // It may be there; if it cannot be made, writing tells nobody.
    return absl::StrCat(folder, "/kv_cli_history");
  }
  const char* const home = std::getenv("HOME");
  if (home == nullptr || home[0] != '/') return "";
  return absl::StrCat(home, "/.acre_kv_cli_history");
}

int RunInteractive(const ClientOptions& options) {
  const absl::StatusOr<std::unique_ptr<ClientStore>> store = Connect(options);
  if (!store.ok()) return TellError(store.status());
  const Client& client = (*store)->client();
  std::cout << "connected to " << absl::StrJoin(client.Servers(), ", ") << ", path "
            << PathName(client.path()) << ", fabric " << client.fabric()
            << "; help lists the commands\n";
  const std::string history_file = HistoryFile();
  using_history();
  stifle_history(kHistoryLinesMax);
  rl_readline_name = const_cast<char*>("kv_cli");
  rl_attempted_completion_function = Complete;
  if (!history_file.empty()) read_history(history_file.c_str());
  Shell shell(store->get(), ValueFormat::kQuoted, &std::cout, &std::cerr);
  const std::string prompt = absl::StrCat(options.servers.front(), "> ");
  while (char* const line = readline(prompt.c_str())) {
    const std::unique_ptr<char, decltype(&std::free)> owned(line, std::free);
    if (line[0] == '\0') continue;
    add_history(line);
    const Shell::Outcome outcome = RunLine(&shell, line);
    std::cout.flush();
    if (outcome == Shell::Outcome::kQuit) break;
  }
  if (!history_file.empty()) {
    const mode_t mask = umask(0077);  // Values may be private.
    write_history(history_file.c_str());
    umask(mask);
  }
  return 0;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> command_line = ParseCommandLine(argc, argv);
  if (!command_line.ok()) return TellError(command_line.status());
  if (command_line->help) {
    std::cout << HelpText(absl::StrCat(kUsageHead, ShellHelp(), kUsageTail), __FILE__);
    return 0;
  }
  const absl::StatusOr<ClientOptions> options = ReadOptions();
  if (!options.ok()) return TellError(options.status());
  if (!command_line->arguments.empty()) return RunOneCommand(*options, command_line->arguments);
  if (isatty(STDIN_FILENO) == 0) return RunLines(*options);
  return RunInteractive(*options);
}

}  // namespace
}  // namespace acre

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::Main(argc, argv);
}

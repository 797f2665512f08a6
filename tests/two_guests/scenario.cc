#include "tests/two_guests/scenario.h"

#include <poll.h>
#include <unistd.h>

#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/scoped_fd.h"
#include "transport/socket.h"

namespace acre::tests {
namespace {

constexpr int kRecords = 3'000;
constexpr int kDeleted = 0;  // The record that WriteAndRead() deletes.
constexpr int kWatched = 1;  // The record that is read while servers come and go.

constexpr int64_t kTimeoutMs = 4'000;
// A machine without a processor of its own comes back late from a wait.
constexpr uint64_t kLatenessMs = 2'000;
// Longer than the driver takes for anything that it is asked for, on a busy machine.
constexpr uint64_t kPatienceMs = 60'000;
constexpr uint64_t kNsPerMs = 1'000'000;

std::string Key(int record) { return absl::StrCat("record ", record); }

// Tells records, and versions of one record, apart at every byte but the padding's.
std::string Value(int record, int version) {
  std::string value = absl::StrCat("version ", version, " of ", Key(record), ":");
  value.resize(value.size() + 20 + static_cast<size_t>(record % 200),
               static_cast<char>('a' + (record + version) % 26));
  return value;
}

absl::Status Wrong(absl::string_view what) { return absl::InternalError(what); }

// What a call may say of a server that cannot be reached.
bool IsUnreachable(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

void Tell(absl::string_view line) { std::cout << line << std::endl; }

// Connects, and lets go.
absl::Status Touch(const std::string& host_port) {
  const auto parsed = transport::ParseHostPort(host_port);
  if (!parsed.ok()) return parsed.status();
  const auto address = transport::ParseAddress(*parsed);
  if (!address.has_value()) return Wrong(absl::StrCat(host_port, " is no address"));
  const auto socket = transport::StartConnect(*address);
  if (!socket.ok()) return socket.status();
  pollfd writable = {.fd = socket->get(), .events = POLLOUT, .revents = 0};
  if (poll(&writable, 1, kTimeoutMs) != 1 || (writable.revents & (POLLERR | POLLHUP)) != 0) {
    return Wrong(absl::StrCat("nobody listens on ", host_port));
  }
  return absl::OkStatus();
}

}  // namespace

Scenario::Scenario(Options options) : options_(std::move(options)) {}

absl::Status Scenario::Run() {
  static constexpr struct {
    absl::string_view name;
    absl::Status (Scenario::*run)();
  } kSteps[] = {
      {"load", &Scenario::Load},
      {"read back", &Scenario::ReadBack},
      {"write and read", &Scenario::WriteAndRead},
      {"lose the server", &Scenario::LoseTheServer},
      {"find the new server", &Scenario::FindTheNewServer},
      {"wake the sleeper", &Scenario::WakeTheSleeper},
      {"lose the link", &Scenario::LoseTheLink},
  };
  for (const auto& step : kSteps) {
    Tell(absl::StrCat("step: ", step.name));
    if (const absl::Status status = (this->*step.run)(); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat(step.name, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

ClientOptions Scenario::OptionsFor(absl::string_view fabric) const {
  ClientOptions options;
  options.servers = {options_.server};
  options.fabric = std::string(fabric);
  options.secret_file = options_.secret_file;
  options.connect_timeout_ms = kTimeoutMs;
  options.operation_timeout_ms = kTimeoutMs;
  return options;
}

absl::Status Scenario::Connect(absl::string_view fabric, std::unique_ptr<Client>* client) {
  // A server gives a client 3 s to say who it is, which a machine that starts while others keep its
  // processor may not make. It may try again.
  const uint64_t patience_over_ns = clock_.NowNs() + kPatienceMs * kNsPerMs;
  absl::StatusOr<std::unique_ptr<Client>> connected = Client::Connect(OptionsFor(fabric));
  while (IsUnreachable(connected.status()) && clock_.NowNs() < patience_over_ns) {
    Tell(absl::StrCat("Connect: ", connected.status().ToString()));
    connected = Client::Connect(OptionsFor(fabric));
  }
  if (!connected.ok()) return connected.status();
  *client = *std::move(connected);
  if ((*client)->fabric() != "verbs" || (*client)->path() != Path::kOneSided) {
    return Wrong(absl::StrCat("fabric ", fabric, " is ", (*client)->fabric(), ", path ",
                              PathName((*client)->path()), "; not verbs, one_sided"));
  }
  return absl::OkStatus();
}

absl::Status Scenario::Load() {
  // The sleeper comes first, so the server's queue pair for it has the number that the next server's first one
  // will have, which is `client_`'s. That is as bad as it gets: the client's kernel sees one number twice.
  if (const absl::Status status = Connect("verbs", &sleeper_); !status.ok()) return status;
  if (const absl::Status status = Connect("auto", &client_); !status.ok()) return status;
  for (int record = 0; record < kRecords; ++record) {
    const absl::Status put = client_->Put(Key(record), Value(record, 0));
    if (!put.ok()) return put;
  }
  return absl::OkStatus();
}

absl::Status Scenario::ReadBack() {
  const transport::VerbCounters before = client_->verbs();
  for (int record = 0; record < kRecords; ++record) {
    const auto seen = client_->Get(Key(record));
    if (!seen.ok()) return seen.status();
    if (*seen != Value(record, 0)) return Wrong(absl::StrCat(Key(record), " is \"", *seen, "\""));
  }
  transport::VerbCounters verbs = client_->verbs();
  verbs -= before;
  // Some WRITEs tell the server of the epoch that this client has seen; a Get by RPC is one WRITE or more.
  if (verbs.reads < kRecords || verbs.writes > kRecords / 10) {
    return Wrong(absl::StrCat(kRecords, " Gets made ", verbs.reads, " READs and ", verbs.writes,
                              " WRITEs: they were not one-sided"));
  }
  return absl::OkStatus();
}

absl::Status Scenario::WriteAndRead() {
  for (int record = 0; record < kRecords; record += 10) {
    const absl::Status put = client_->Put(Key(record), Value(record, 1));
    if (!put.ok()) return put;
    const auto seen = sleeper_->Get(Key(record));
    if (!seen.ok()) return seen.status();
    if (*seen != Value(record, 1)) return Wrong(absl::StrCat(Key(record), " is \"", *seen, "\""));
  }
  const absl::Status deleted = client_->Delete(Key(kDeleted));
  if (!deleted.ok()) return deleted;
  const absl::Status absent = sleeper_->Get(Key(kDeleted)).status();
  if (!absl::IsNotFound(absent)) return Wrong(absl::StrCat("after a Delete: ", absent.ToString()));
  const auto last = sleeper_->Get(Key(kWatched));
  if (!last.ok()) return last.status();
  if (*last != Value(kWatched, 0)) return Wrong(absl::StrCat("an unchanged record is ", *last));
  return absl::OkStatus();
}

absl::Status Scenario::LoseTheServer() {
  Tell("do: kill the server");
  if (const absl::Status status = GetTillOneFails(kWatched, 0); !status.ok()) return status;
  if (access(options_.death_mark.c_str(), F_OK) != 0) {
    return Wrong("a call failed before the server was killed");
  }
  Call call;
  if (const absl::Status status = Put(client_.get(), kWatched, 2, &call); !status.ok()) {
    return status;
  }
  if (call.status.ok()) return Wrong("a server that is not there took a Put");
  return absl::OkStatus();
}

absl::Status Scenario::FindTheNewServer() {
  Tell("do: start a server");
  if (const absl::Status status = GetTillAbsent(client_.get(), kWatched); !status.ok()) {
    return status;
  }
  for (int record = 0; record < kRecords; record += 10) {
    const absl::Status absent = client_->Get(Key(record)).status();
    if (!absl::IsNotFound(absent)) {
      return Wrong(absl::StrCat("the new server's ", Key(record), ": ", absent.ToString()));
    }
    const absl::Status put = client_->Put(Key(record), Value(record, 3));
    if (!put.ok()) return put;
    const auto seen = client_->Get(Key(record));
    if (!seen.ok()) return seen.status();
    if (*seen != Value(record, 3)) return Wrong(absl::StrCat(Key(record), " is \"", *seen, "\""));
  }
  return absl::OkStatus();
}

absl::Status Scenario::WakeTheSleeper() {
  if (const absl::Status status = GetTillAbsent(sleeper_.get(), kWatched); !status.ok()) {
    return status;
  }
  for (int record = 0; record < kRecords; record += 10) {
    const auto seen = sleeper_->Get(Key(record));
    if (!seen.ok()) return seen.status();
    if (*seen != Value(record, 3)) return Wrong(absl::StrCat(Key(record), " is \"", *seen, "\""));
  }
  // The sleeper, which takes nothing else, has come back by verbs. So does who may take any.
  std::unique_ptr<Client> another;
  return Connect("auto", &another);
}

absl::Status Scenario::LoseTheLink() {
  Call call;
  if (const absl::Status status = Put(client_.get(), kWatched, 4, &call); !status.ok()) {
    return status;
  }
  if (!call.status.ok()) return call.status;
  const std::string host = options_.server.substr(0, options_.server.rfind(':'));
  const absl::Status touched = Touch(absl::StrCat(host, ":", options_.switch_port));
  if (!touched.ok()) return touched;
  if (const absl::Status status = GetTillOneFails(kWatched, 4); !status.ok()) return status;
  // A second time by each client, a Put, and a client that comes only now.
  for (Client* client : {client_.get(), sleeper_.get()}) {
    if (const absl::Status status = Get(client, kWatched, &call); !status.ok()) return status;
    if (call.status.ok()) return Wrong("a Get of a server without a link brought a value");
    if (const absl::Status status = Put(client, kWatched, 5, &call); !status.ok()) return status;
    if (call.status.ok()) return Wrong("a server without a link took a Put");
  }
  call.what = "Connect";
  const absl::Status status =
      Time(&call, [&] { return Client::Connect(OptionsFor("auto")).status(); });
  if (status.ok() && call.status.ok()) return Wrong("a client connected without a link");
  return status;
}

absl::Status Scenario::Time(Call* call, const std::function<absl::Status()>& run) {
  const uint64_t start_ns = clock_.NowNs();
  call->status = run();
  const uint64_t took_ms = (clock_.NowNs() - start_ns) / kNsPerMs;
  std::string failure = call->status.ok() ? "" : call->status.ToString();
  // A server that is not there yet refuses many calls, all in the same words.
  if (!failure.empty() && failure != last_failure_) {
    Tell(absl::StrCat(call->what, " after ", took_ms, " ms: ", failure));
  }
  last_failure_ = std::move(failure);
  if (took_ms > kTimeoutMs + kLatenessMs) {
    return Wrong(absl::StrCat(call->what, " took ", took_ms, " ms, its timeout is ", kTimeoutMs));
  }
  if (call->status.ok() || absl::IsNotFound(call->status) || IsUnreachable(call->status)) {
    return absl::OkStatus();
  }
  return Wrong(absl::StrCat(call->what, ": ", call->status.ToString()));
}

absl::Status Scenario::Get(Client* client, int record, Call* call) {
  call->what = absl::StrCat(client == sleeper_.get() ? "the sleeper's " : "", "Get");
  return Time(call, [&] { return client->Get(Key(record), &call->value); });
}

absl::Status Scenario::Put(Client* client, int record, int version, Call* call) {
  call->what = absl::StrCat(client == sleeper_.get() ? "the sleeper's " : "", "Put");
  return Time(call, [&] { return client->Put(Key(record), Value(record, version)); });
}

absl::Status Scenario::GetTillOneFails(int record, int version) {
  const uint64_t patience_over_ns = clock_.NowNs() + kPatienceMs * kNsPerMs;
  while (clock_.NowNs() < patience_over_ns) {
    Call call;
    if (const absl::Status status = Get(client_.get(), record, &call); !status.ok()) return status;
    if (IsUnreachable(call.status)) return absl::OkStatus();
    if (!call.status.ok()) return call.status;
    if (call.value != Value(record, version)) {
      return Wrong(absl::StrCat(Key(record), " is \"", call.value, "\""));
    }
  }
  return Wrong("Gets go on as if nothing had happened to the server");
}

absl::Status Scenario::GetTillAbsent(Client* client, int record) {
  const uint64_t patience_over_ns = clock_.NowNs() + kPatienceMs * kNsPerMs;
  while (clock_.NowNs() < patience_over_ns) {
    Call call;
    if (const absl::Status status = Get(client, record, &call); !status.ok()) return status;
    if (call.status.ok()) {
      return Wrong(absl::StrCat("after its server was killed, ", call.what, " brought \"",
                                call.value, "\""));
    }
    if (absl::IsNotFound(call.status)) return absl::OkStatus();
  }
  return Wrong("the client does not find the new server");
}

}  // namespace acre::tests

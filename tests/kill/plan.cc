#include "tests/kill/plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace acre::tests {
namespace {

constexpr uint64_t kUsPerMs = 1'000;
// Of LockHome::kStandstillNs and kAnswerNsMax (server/lock_home.h), and how often it looks.
constexpr int64_t kStandstillUs = 2'200'000;
constexpr uint64_t kAnswerMs = 1'200;

ServerFate DrawServerFate(uint64_t dice) {
  if (dice < 6) return ServerFate::kLives;
  if (dice < 14) return ServerFate::kFrozen;
  if (dice < 32) return ServerFate::kStopped;
  if (dice < 46) return ServerFate::kKilledStopping;
  if (dice < 58) return ServerFate::kKilledFrozen;
  if (dice < 70) return ServerFate::kKilledStarting;
  return ServerFate::kKilled;
}

int64_t DrawUs(Random* random, uint64_t ms) {
  return static_cast<int64_t>(random->Uniform(ms * kUsPerMs));
}

// One of `servers`.
Plan::Server DrawServer(size_t servers, Random* random) {
  Plan::Server server;
  server.fate = DrawServerFate(random->Uniform(100));
  // Of several there shall be some that serve while others do not.
  if (servers > 1 && random->Uniform(100) < 40) server.fate = ServerFate::kLives;
  server.at_us = DrawUs(random, 20);
  server.between_us =
      server.fate == ServerFate::kKilledStopping ? DrawUs(random, 3) : DrawUs(random, 40);
  server.down_us = random->Uniform(2) == 0 ? 0 : DrawUs(random, 40);
  server.death_marks = random->Uniform(4) != 0;
  server.lease_ms = 200 + static_cast<int64_t>(random->Uniform(200));
  server.threads = 1 + static_cast<int>(random->Uniform(2));
  return server;
}

void AddBlows(const Plan::Server& server, size_t place, std::vector<Blow>* blows) {
  const int64_t second_us = server.at_us + server.between_us;
  const auto add = [&](int64_t at_us, BlowKind kind) { blows->push_back({at_us, kind, place}); };
  switch (server.fate) {
    case ServerFate::kLives:
      return;
    case ServerFate::kFrozen:
      add(server.at_us, BlowKind::kFreezeServer);
      add(second_us, BlowKind::kThawServer);
      return;
    case ServerFate::kStopped:
      add(server.at_us, BlowKind::kStopServer);
      add(server.at_us + server.down_us, BlowKind::kLaunchServer);
      return;
    case ServerFate::kKilled:
      add(server.at_us, BlowKind::kKillServer);
      add(server.at_us + server.down_us, BlowKind::kLaunchServer);
      return;
    case ServerFate::kKilledStopping:
      add(server.at_us, BlowKind::kTellServer);
      break;
    case ServerFate::kKilledFrozen:
      add(server.at_us, BlowKind::kFreezeServer);
      break;
    case ServerFate::kKilledStarting:
      add(server.at_us, BlowKind::kKillServer);
      add(server.at_us, BlowKind::kLaunchServer);
      break;
  }
  add(second_us, BlowKind::kKillServer);
  add(second_us + server.down_us, BlowKind::kLaunchServer);
}

void AppendText(const Plan::Server& server, size_t place, std::string* text) {
  if (server.fate == ServerFate::kLives) return;
  absl::StrAppend(text, ", server ", place + 1, " ", NameOf(server.fate), " at ", server.at_us);
  if (server.fate != ServerFate::kStopped && server.fate != ServerFate::kKilled) {
    absl::StrAppend(text, " and ", server.between_us, " later");
  }
  if (!EndsServer(server.fate)) return;
  absl::StrAppend(text, " (the next after ", server.down_us, " with ", server.threads,
                  " threads and ");
  if (server.death_marks) {
    absl::StrAppend(text, "death marks)");
  } else {
    absl::StrAppend(text, "a lease of ", server.lease_ms, " ms)");
  }
}

}  // namespace

const char* NameOf(ServerFate fate) {
  switch (fate) {
    case ServerFate::kLives:
      return "lives";
    case ServerFate::kFrozen:
      return "frozen";
    case ServerFate::kStopped:
      return "stopped";
    case ServerFate::kKilled:
      return "killed";
    case ServerFate::kKilledStopping:
      return "killed while it stopped";
    case ServerFate::kKilledFrozen:
      return "killed while it was frozen";
    case ServerFate::kKilledStarting:
      return "killed, and the next one while it started";
  }
  return "";
}

const char* NameOf(ClientFate fate) {
  switch (fate) {
    case ClientFate::kLives:
      return "lives";
    case ClientFate::kKilled:
      return "killed";
    case ClientFate::kFrozen:
      return "frozen";
  }
  return "";
}

bool EndsServer(ServerFate fate) {
  return fate != ServerFate::kLives && fate != ServerFate::kFrozen;
}

Plan Plan::Draw(size_t servers, size_t clients, size_t immortals, bool is_trusted, Random* random) {
  Plan plan;
  plan.load_us = 2'000 + DrawUs(random, 60);
  for (size_t i = 0; i < servers; ++i) plan.servers.push_back(DrawServer(servers, random));
  for (size_t i = 0; i < clients; ++i) {
    Client client;
    const uint64_t dice = random->Uniform(100);
    if (dice < 30 && i >= immortals) client.fate = ClientFate::kKilled;
    if (dice >= 30 && dice < (is_trusted ? 70 : 50)) client.fate = ClientFate::kFrozen;
    client.at_us = DrawUs(random, 20);
    plan.clients.push_back(client);
  }
  plan.aftermath_us = DrawUs(random, 30);
  if (is_trusted && random->Uniform(4) == 0) {
    plan.aftermath_us += kStandstillUs + DrawUs(random, kAnswerMs);
  }
  return plan;
}

std::vector<Blow> Plan::Blows() const {
  std::vector<Blow> blows;
  for (size_t i = 0; i < servers.size(); ++i) AddBlows(servers[i], i, &blows);
  for (size_t i = 0; i < clients.size(); ++i) {
    if (clients[i].fate == ClientFate::kLives) continue;
    const bool is_killed = clients[i].fate == ClientFate::kKilled;
    blows.push_back(
        {clients[i].at_us, is_killed ? BlowKind::kKillClient : BlowKind::kFreezeClient, i});
  }
  // Stable: those on one server keep their order.
  std::stable_sort(blows.begin(), blows.end(),
                   [](const Blow& a, const Blow& b) { return a.at_us < b.at_us; });
  return blows;
}

std::string Plan::ToText() const {
  std::string text = absl::StrCat("after ", load_us, " us of load");
  const size_t bytes = text.size();
  for (size_t i = 0; i < servers.size(); ++i) AppendText(servers[i], i, &text);
  for (size_t i = 0; i < clients.size(); ++i) {
    if (clients[i].fate == ClientFate::kLives) continue;
    absl::StrAppend(&text, ", client ", i, " ", NameOf(clients[i].fate), " at ", clients[i].at_us);
  }
  if (text.size() == bytes) text += ", nothing";
  absl::StrAppend(&text, "; ", aftermath_us, " us of aftermath");
  return text;
}

}  // namespace acre::tests

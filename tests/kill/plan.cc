#include "tests/kill/plan.h"

#include "absl/strings/str_cat.h"

namespace acre::tests {
namespace {

constexpr uint64_t kUsPerMs = 1'000;

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

Plan Plan::Draw(size_t clients, size_t immortals, Random* random) {
  Plan plan;
  plan.load_us = 2'000 + DrawUs(random, 60);
  plan.server = DrawServerFate(random->Uniform(100));
  plan.server_at_us = DrawUs(random, 20);
  plan.between_us =
      plan.server == ServerFate::kKilledStopping ? DrawUs(random, 3) : DrawUs(random, 40);
  for (size_t i = 0; i < clients; ++i) {
    Client client;
    const uint64_t dice = random->Uniform(100);
    if (dice < 30 && i >= immortals) client.fate = ClientFate::kKilled;
    if (dice >= 30 && dice < 50) client.fate = ClientFate::kFrozen;
    client.at_us = DrawUs(random, 20);
    plan.clients.push_back(client);
  }
  plan.down_us = random->Uniform(2) == 0 ? 0 : DrawUs(random, 40);
  plan.death_marks = random->Uniform(4) != 0;
  plan.lease_ms = 200 + static_cast<int64_t>(random->Uniform(200));
  plan.threads = 1 + static_cast<int>(random->Uniform(2));
  plan.aftermath_us = DrawUs(random, 30);
  return plan;
}

std::string Plan::ToText() const {
  std::string text = absl::StrCat("after ", load_us, " us of load: server ", NameOf(server));
  if (server != ServerFate::kLives) absl::StrAppend(&text, " at ", server_at_us);
  for (size_t i = 0; i < clients.size(); ++i) {
    if (clients[i].fate == ClientFate::kLives) continue;
    absl::StrAppend(&text, ", client ", i, " ", NameOf(clients[i].fate), " at ", clients[i].at_us);
  }
  if (!EndsServer(server)) return text;
  absl::StrAppend(&text, "; the next after ", down_us, " with ", threads, " threads and ");
  if (death_marks) {
    text += "death marks";
  } else {
    absl::StrAppend(&text, "a lease of ", lease_ms, " ms");
  }
  return text;
}

}  // namespace acre::tests

#include "tests/kill/life.h"

#include "absl/strings/str_cat.h"

namespace acre::tests {
namespace {

std::vector<Path> PathsOf(Reach reach) {
  switch (reach) {
    case Reach::kShm:
    case Reach::kAuto:
      return {Path::kAuto, Path::kMapped, Path::kOneSided, Path::kRpc};
    case Reach::kTcp:
      return {Path::kAuto, Path::kOneSided, Path::kRpc};
    case Reach::kSocket:
      return {Path::kTcp};
  }
  return {};
}

}  // namespace

const char* NameOf(Reach reach) {
  switch (reach) {
    case Reach::kShm:
      return "fabric shm";
    case Reach::kTcp:
      return "fabric tcp";
    case Reach::kAuto:
      return "fabric auto";
    case Reach::kSocket:
      return "path tcp";
  }
  return "";
}

const char* FabricOf(Reach reach) {
  switch (reach) {
    case Reach::kShm:
      return "shm";
    case Reach::kTcp:
      return "tcp";
    case Reach::kAuto:
    case Reach::kSocket:
      return "auto";
  }
  return "";
}

Life Life::Draw(size_t servers, size_t clients, Random* random) {
  Life life;
  const size_t drawn = 1 + random->Uniform(kLifeServersMax);
  life.servers = servers == 0 ? drawn : servers;
  // One alone in its cluster has a view, one without a file has none.
  const bool has_file = random->Uniform(2) == 0;
  life.has_cluster_file = life.servers > 1 || has_file;
  life.has_secret = random->Uniform(2) == 0;
  life.is_mixed = random->Uniform(3) == 0;
  const Reach reach_of_all = static_cast<Reach>(random->Uniform(kReaches));
  for (size_t place = 0; place < clients; ++place) {
    Client client;
    client.reach = life.is_mixed ? static_cast<Reach>(place % kReaches) : reach_of_all;
    const std::vector<Path> paths = PathsOf(client.reach);
    client.path = paths[random->Uniform(paths.size())];
    life.clients.push_back(client);
  }
  return life;
}

std::string Life::ServersText() const {
  if (!has_cluster_file) return "a server alone";
  return servers == 1 ? "a server in a cluster of 1" : absl::StrCat(servers, " servers");
}

std::string Life::ClientsText() const {
  if (is_mixed) return "clients by all ways";
  return absl::StrCat("clients by ", clients.empty() ? "no way" : NameOf(clients[0].reach));
}

std::string Life::ToText() const {
  return absl::StrCat(ServersText(), has_secret ? ", a secret, " : ", no secret, ", ClientsText());
}

}  // namespace acre::tests

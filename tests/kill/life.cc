#include "tests/kill/life.h"

#include "absl/strings/str_cat.h"

namespace acre::tests {
namespace {

// That of all clients,
std::vector<Reach> ReachesOfAll(Trust trust) {
  switch (trust) {
    case Trust::kNone:
      break;
    // Those by which clients can write; the others stand beside them in mixed lives.
    case Trust::kShm:
      return {Reach::kShm};
    case Trust::kTcp:
      return {Reach::kTcp, Reach::kAuto};
  }
  return {Reach::kShm, Reach::kTcp, Reach::kAuto, Reach::kSocket};
}
// and those that take turns in a mixed life.
std::vector<Reach> ReachesInTurn(Trust trust) {
  switch (trust) {
    case Trust::kNone:
      break;
    case Trust::kShm:
      return {Reach::kShm, Reach::kTcp, Reach::kShm, Reach::kAuto, Reach::kShm, Reach::kSocket};
    case Trust::kTcp:
      return {Reach::kTcp, Reach::kAuto, Reach::kSocket};
  }
  return {Reach::kShm, Reach::kTcp, Reach::kAuto, Reach::kSocket};
}

std::vector<Path> PathsOf(Reach reach, Trust trust) {
  // There is nothing to map.
  if (trust == Trust::kTcp && reach == Reach::kAuto) reach = Reach::kTcp;
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

// By fabric auto a client may come by tcp, where a server whose memory shm makes lets nobody write.
bool CanWrite(Reach reach, Trust trust) {
  if (trust == Trust::kShm) return reach == Reach::kShm;
  return trust == Trust::kTcp && reach != Reach::kSocket;
}

std::vector<PutPath> PutPathsOf(Reach reach, Trust trust) {
  if (!CanWrite(reach, trust)) return {PutPath::kAuto, PutPath::kRpc};
  // Twice: most of those that can.
  return {PutPath::kAuto, PutPath::kRpc, PutPath::kOneSided, PutPath::kOneSided};
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

const char* NameOf(Trust trust) {
  switch (trust) {
    case Trust::kNone:
      return "none";
    case Trust::kShm:
      return "shm";
    case Trust::kTcp:
      return "tcp";
  }
  return "";
}

absl::StatusOr<Trust> ParseTrust(absl::string_view name) {
  for (const Trust trust : {Trust::kNone, Trust::kShm, Trust::kTcp}) {
    if (name == NameOf(trust)) return trust;
  }
  return absl::InvalidArgumentError(absl::StrCat("no trust is called ", name));
}

Life Life::Draw(const Fixed& fixed, size_t clients, Random* random) {
  Life life;
  const size_t drawn = 1 + random->Uniform(kLifeServersMax);
  life.servers = fixed.servers == 0 ? drawn : fixed.servers;
  // One alone in its cluster has a view, one without a file has none.
  const bool has_file = random->Uniform(2) == 0;
  life.has_cluster_file = life.servers > 1 || has_file;
  life.has_secret = random->Uniform(2) == 0;
  if (fixed.trust.has_value()) {
    life.trust = *fixed.trust;
  } else if (const uint64_t dice = random->Uniform(2 * (kTrusts - 1)); dice < kTrusts) {
    // Every second life, and both fabrics alike.
    life.trust = static_cast<Trust>(dice);
  }
  life.is_mixed = random->Uniform(3) == 0;
  const std::vector<Reach> of_all = ReachesOfAll(life.trust);
  const Reach reach_of_all = of_all[random->Uniform(of_all.size())];
  const std::vector<Reach> in_turn = ReachesInTurn(life.trust);
  for (size_t place = 0; place < clients; ++place) {
    Client client;
    client.reach = life.is_mixed ? in_turn[place % in_turn.size()] : reach_of_all;
    const std::vector<Path> paths = PathsOf(client.reach, life.trust);
    client.path = paths[random->Uniform(paths.size())];
    if (life.trust != Trust::kNone) {
      const std::vector<PutPath> put_paths = PutPathsOf(client.reach, life.trust);
      client.put_path = put_paths[random->Uniform(put_paths.size())];
    }
    life.clients.push_back(client);
  }
  return life;
}

bool Life::IsWriter(size_t place) const {
  const Client& client = clients[place];
  if (client.put_path == PutPath::kOneSided) return true;
  // On shm there is nothing to be gained, and auto never does (client.h).
  return client.put_path == PutPath::kAuto && trust == Trust::kTcp && CanWrite(client.reach, trust);
}

bool Life::MayBeKilledByServers(size_t place) const {
  return trust == Trust::kShm && IsWriter(place);
}

std::string Life::TrustText() const {
  if (trust == Trust::kNone) return "without trust";
  return absl::StrCat("with trust by fabric ", NameOf(trust));
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
  return absl::StrCat(ServersText(), " ", TrustText(),
                      has_secret ? ", a secret, " : ", no secret, ", ClientsText());
}

}  // namespace acre::tests

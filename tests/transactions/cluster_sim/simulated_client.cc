#include "tests/transactions/cluster_sim/simulated_client.h"

#include <utility>

#include "client/fabric_backend.h"
#include "glog/logging.h"
#include "tests/transactions/cluster_sim/scene.h"

namespace acre::cluster_sim {
namespace {

constexpr uint32_t kRegionIdsOfConnector = 1'000'000;

std::shared_ptr<kvs::TransactionLink> LinkOf(std::shared_ptr<FabricBackend> backend) {
  if (backend == nullptr) return nullptr;
  kvs::TransactionLink* const link = backend->transactions();
  return {std::move(backend), link};
}

}  // namespace

SimulatedHomes::SimulatedHomes(Scene* scene, sim::Process* process, Scheduler* scheduler,
                               transport::SimFabric* fabric, transport::Port* port,
                               uint32_t claimed_id)
    : process_id_(claimed_id == 0 ? process->id() : claimed_id), scheduler_(scheduler) {
  const Path path = scene->plan().is_mapped ? Path::kMapped : Path::kOneSided;
  for (size_t i = 0; i < scene->plan().homes; ++i) {
    simulation::Connector::Options options =
        scene->ConnectorOptions(i, path, 1 + kRegionIdsOfConnector * static_cast<uint32_t>(i));
    options.claimed_id = claimed_id;
    connectors_.push_back(std::make_unique<simulation::Connector>(
        options, scene->door(i), process, scene->home_machine(i), scheduler, fabric, port));
  }
}

uint64_t SimulatedHomes::view() const { return kView; }

uint32_t SimulatedHomes::NewThreadNumber() {
  const auto number = static_cast<uint32_t>(scheduler_->random().Next() >> 32);
  if (numbers_ != nullptr) numbers_->push_back(number);
  return number;
}

std::shared_ptr<kvs::TransactionLink> SimulatedHomes::LinkNow(size_t server) {
  return LinkOf(connectors_[server]->Now());
}

Task<absl::StatusOr<std::shared_ptr<kvs::TransactionLink>>> SimulatedHomes::Link(
    size_t server, uint64_t deadline_ns) {
  std::shared_ptr<FabricBackend> backend = co_await connectors_[server]->Connection(deadline_ns);
  if (backend == nullptr) co_return absl::UnavailableError("a home can not be reached");
  co_return LinkOf(std::move(backend));
}

SimulatedClient::SimulatedClient(Scene* scene, sim::Process* process, uint64_t seed,
                                 uint32_t claimed_id)
    : scheduler_({.clock = process->machine()->clock(),
                  .seed = seed,
                  .spin_ns = scene->plan().spin_ns,
                  .name = process->name()}) {
  auto fabric =
      transport::SimFabric::Create(scene->network(), process, {.device = scene->plan().device});
  CHECK(fabric.ok()) << fabric.status();
  fabric_ = *std::move(fabric);
  auto queue = fabric_->CreateCompletionQueue();
  CHECK(queue.ok()) << queue.status();
  queue_ = *std::move(queue);
  port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
  homes_ = std::make_unique<SimulatedHomes>(scene, process, &scheduler_, fabric_.get(), port_.get(),
                                            claimed_id);
  coordinator_ =
      std::make_unique<kvs::Coordinator>(&scheduler_, homes_.get(), scene->plan().timeout_ns);
}

SimulatedClient::~SimulatedClient() = default;

}  // namespace acre::cluster_sim

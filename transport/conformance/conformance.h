// Two nodes of the provider under test, and the steps that every test of the contract takes with
// them.

#ifndef ACRE_TRANSPORT_CONFORMANCE_CONFORMANCE_H_
#define ACRE_TRANSPORT_CONFORMANCE_CONFORMANCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "transport/conformance/provider_under_test.h"
#include "transport/fabric.h"
#include "transport/region_header.h"

namespace acre::transport {

// The first byte after the header, where tests put their words.
constexpr uint64_t kDataOffset = kRegionHeaderBytes;
// Polls before a completion counts as missing: many seconds' worth.
constexpr int kPollsMax = 50'000'000;

// A node with what one thread needs of it.
struct Node {
  explicit Node(ProviderUnderTest* provider, uint64_t atomic_domain = 0)
      : fabric(provider->MakeNode({.atomic_domain = atomic_domain})),
        queue(MakeQueue()),
        neighbours_queue(provider->shares_queue_pairs() ? MakeQueue() : nullptr),
        local(MakeRegion(1, 0)) {}

  std::unique_ptr<CompletionQueue> MakeQueue() const {
    auto made = fabric->CreateCompletionQueue();
    CHECK(made.ok()) << made.status();
    return *std::move(made);
  }
  std::unique_ptr<MemoryRegion> MakeRegion(uint32_t region_id, uint32_t peer_rights,
                                           uint64_t lease_ns = 0) const {
    RegionOptions options;
    options.region_id = region_id;
    options.size_bytes = 1 << 16;
    options.peer_rights = peer_rights;
    options.lease_ns = lease_ns;
    auto made = fabric->CreateRegion(options);
    CHECK(made.ok()) << made.status();
    return *std::move(made);
  }

  std::unique_ptr<Fabric> fabric;
  std::unique_ptr<CompletionQueue> queue;
  // Where queue pairs are shared: of a thread that shares them, and never polls.
  std::unique_ptr<CompletionQueue> neighbours_queue;
  std::unique_ptr<MemoryRegion> local;  // For local buffers.
};

class ConformanceTest : public testing::TestWithParam<int> {
 protected:
  ConformanceTest() : provider_(ProvidersUnderTest()[static_cast<size_t>(GetParam())].get()) {}

  // A connection between two nodes, `client` being the one that connects.
  struct Connection {
    std::unique_ptr<QueuePair> client;
    std::unique_ptr<QueuePair> server;
    // Of another thread, on the same queue pair of the device.
    std::unique_ptr<QueuePair> clients_neighbour;
    std::unique_ptr<QueuePair> servers_neighbour;
  };

  Connection Connect(const Node& client, const Node& server, absl::string_view client_data = "",
                     absl::string_view server_data = "") {
    auto listener = server.fabric->Listen();
    CHECK(listener.ok()) << listener.status();
    Connection made;
    if (provider_->shares_queue_pairs()) {
      std::tie(made.clients_neighbour, made.servers_neighbour) =
          ConnectOn(client.neighbours_queue.get(), listener->get(), server.neighbours_queue.get(),
                    *client.fabric, "", "");
    }
    std::tie(made.client, made.server) =
        ConnectOn(client.queue.get(), listener->get(), server.queue.get(), *client.fabric,
                  client_data, server_data);
    return made;
  }
  std::pair<std::unique_ptr<QueuePair>, std::unique_ptr<QueuePair>> ConnectOn(
      CompletionQueue* client_queue, Listener* listener, CompletionQueue* server_queue,
      Fabric& client_fabric, absl::string_view client_data, absl::string_view server_data) {
    auto connecting = client_fabric.Connect(listener->endpoint(), client_queue, client_data);
    CHECK(connecting.ok()) << connecting.status();
    // Where the server shares a queue pair with others, what comes on it comes by its polling.
    const auto request = AwaitRequest({client_queue, server_queue}, listener);
    auto accepted = request->Accept(server_queue, server_data);
    CHECK(accepted.ok()) << accepted.status();
    const Completion connected = Await(client_queue);
    CHECK(connected.kind == CompletionKind::kConnected) << (*connecting)->status();
    CHECK(connected.queue_pair == connecting->get());
    return {*std::move(connecting), *std::move(accepted)};
  }

  // The request of `client`, which is connecting: only polling gets it on.
  std::unique_ptr<ConnectionRequest> AwaitRequest(const Node& client, Listener* listener) {
    return AwaitRequest({client.queue.get()}, listener);
  }
  std::unique_ptr<ConnectionRequest> AwaitRequest(const std::vector<CompletionQueue*>& queues,
                                                  Listener* listener) {
    Completion completion;
    for (int i = 0; i < kPollsMax; ++i) {
      for (CompletionQueue* const queue : queues) {
        CHECK_EQ(queue->Poll({&completion, 1}), 0u) << "nobody has answered yet";
      }
      if (provider_->IsReadable(listener->fd())) {
        if (auto request = listener->Poll()) return request;
      }
      provider_->Progress();
    }
    LOG(FATAL) << "nobody connected";
  }

  // The next completion, which must come.
  Completion Await(CompletionQueue* queue) {
    Completion completion;
    for (int i = 0; i < kPollsMax; ++i) {
      if (queue->Poll({&completion, 1}) == 1) return completion;
      provider_->Progress();
    }
    LOG(FATAL) << "no completion came";
  }

  // Expects that nothing more comes: as sure as some polling makes it.
  void ExpectQuiet(CompletionQueue* queue) {
    Completion completion;
    for (int i = 0; i < 5000; ++i) {
      ASSERT_EQ(queue->Poll({&completion, 1}), 0u) << "kind " << static_cast<int>(completion.kind);
      provider_->Progress();
    }
  }

  // Expects the failure of request `id`, and then that both sides break.
  void ExpectBroken(const Node& client, const Node& server, const Connection& connection,
                    uint64_t id, CompletionStatus status) {
    const Completion failed = Await(client.queue.get());
    EXPECT_EQ(failed.kind, CompletionKind::kSend);
    EXPECT_EQ(failed.id, id);
    EXPECT_STREQ(CompletionStatusName(failed.status), CompletionStatusName(status));
    ExpectDisconnected(client, connection.client.get());
    ExpectDisconnected(server, connection.server.get());
  }

  void ExpectDisconnected(const Node& node, const QueuePair* queue_pair) {
    const Completion gone = Await(node.queue.get());
    EXPECT_EQ(gone.kind, CompletionKind::kDisconnected);
    EXPECT_EQ(gone.queue_pair, queue_pair);
    EXPECT_EQ(queue_pair->state(), QueuePairState::kBroken);
    EXPECT_FALSE(queue_pair->status().ok());
  }

  static RemoteKey Grant(QueuePair* queue_pair, const MemoryRegion& region, uint32_t rights) {
    auto key = queue_pair->Grant(region, rights);
    CHECK(key.ok()) << key.status();
    return *key;
  }

  static void Post(QueuePair* queue_pair, const std::vector<WorkRequest>& batch) {
    const absl::Status posted = queue_pair->Post(batch);
    ASSERT_TRUE(posted.ok()) << posted;
  }

  // The buffer of `words` words at `index` of the node's local region.
  static SharedWord* Local(const Node& node, size_t index) {
    return node.local->words() + kDataOffset / kWordBytes + index;
  }
  static void SetLocal(const Node& node, size_t index, uint64_t value) {
    Local(node, index)->Store(value, std::memory_order_relaxed);
  }
  static uint64_t GetLocal(const Node& node, size_t index) {
    return Local(node, index)->Load(std::memory_order_relaxed);
  }

  // A request of one word, from or to word `index` of the node's local region.
  static WorkRequest Request(Opcode opcode, const Node& node, size_t index, RemoteKey key,
                             uint64_t offset_bytes = kDataOffset) {
    WorkRequest request;
    request.opcode = opcode;
    request.id = 100 + index;
    request.local = Local(node, index);
    request.local_region = node.local.get();
    request.length_bytes = kWordBytes;
    request.remote_key = key;
    request.remote_offset_bytes = offset_bytes;
    return request;
  }
  static WorkRequest FetchAdd(const Node& node, size_t index, RemoteKey key, uint64_t addend) {
    WorkRequest request = Request(Opcode::kFetchAdd, node, index, key);
    request.swap_or_add = addend;
    return request;
  }
  static WorkRequest CompareSwap(const Node& node, size_t index, RemoteKey key, uint64_t compare,
                                 uint64_t swap) {
    WorkRequest request = Request(Opcode::kCompareSwap, node, index, key);
    request.compare = compare;
    request.swap_or_add = swap;
    return request;
  }

  // The words of `region` that Request() works on.
  static SharedWord& Target(const MemoryRegion& region, size_t index = 0) {
    return region.words()[kDataOffset / kWordBytes + index];
  }

  ProviderUnderTest* const provider_;
};

inline std::string NameOfProvider(const testing::TestParamInfo<int>& info) {
  return ProvidersUnderTest()[static_cast<size_t>(info.param)]->name();
}

// Runs the tests of `suite` with every provider that main() picked.
#define ACRE_CONFORMANCE_SUITE(suite)                                                        \
  INSTANTIATE_TEST_SUITE_P(Providers, suite,                                                 \
                           testing::Range(0, static_cast<int>(ProvidersUnderTest().size())), \
                           NameOfProvider)

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_CONFORMANCE_CONFORMANCE_H_

// Two nodes of the verbs provider and a raw peer, for the provider's own tests. They need a card.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_TEST_UTIL_H_
#define ACRE_TRANSPORT_VERBS_VERBS_TEST_UTIL_H_

#include <dirent.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/shared_word.h"
#include "transport/fabric.h"
#include "transport/region_header.h"
#include "transport/verbs/verbs_device.h"
#include "transport/verbs/verbs_fabric.h"

namespace acre::transport {

// The first byte after a region's header, where tests put their words.
constexpr uint64_t kDataOffset = kRegionHeaderBytes;
constexpr size_t kDataWord = kDataOffset / kWordBytes;

template <class T>
T Take(absl::StatusOr<T> made) {
  CHECK(made.ok()) << made.status();
  return *std::move(made);
}

// A device with what one thread needs of it.
struct VerbsNode {
  // `index`: of the machine's usable addresses, modulo their number.
  explicit VerbsNode(size_t index, uint32_t receive_queue_depth = 16, uint32_t threads_per_qp = 1) {
    const std::vector<std::string> addresses = VerbsFabric::Addresses();
    CHECK(!addresses.empty()) << "this machine has no RDMA device";
    address = addresses[index % addresses.size()];
    fabric = Take(VerbsFabric::Create({.clock = &clock,
                                       .address = address,
                                       .threads_per_qp = threads_per_qp,
                                       .send_queue_depth = 64,
                                       .receive_queue_depth = receive_queue_depth}));
    queue = Take(fabric->CreateCompletionQueue());
    local = MakeRegion(1, 0);
  }

  std::unique_ptr<MemoryRegion> MakeRegion(uint32_t region_id, uint32_t peer_rights) const {
    RegionOptions options;
    options.region_id = region_id;
    options.size_bytes = 1 << 16;
    options.peer_rights = peer_rights;
    return Take(fabric->CreateRegion(options));
  }

  // The next completion, which must come within a minute or so. Sleeps meanwhile.
  Completion Await() const {
    Completion completion;
    for (int i = 0; i < 60'000; ++i) {
      if (queue->Poll({&completion, 1}) == 1) return completion;
      queue->Arm();
      const bool came = queue->Poll({&completion, 1}) == 1;
      if (!came) {
        pollfd event = {.fd = queue->fd(), .events = POLLIN, .revents = 0};
        poll(&event, 1, 1'000);
      }
      queue->Disarm();
      if (came) return completion;
    }
    LOG(FATAL) << "no completion came";
  }
  // As Await(), but never armed: only what fd() tells by itself is seen.
  bool WaitReadable(int timeout_ms) const {
    pollfd event = {.fd = queue->fd(), .events = POLLIN, .revents = 0};
    return poll(&event, 1, timeout_ms) == 1;
  }

  WorkRequest Request(Opcode opcode, size_t index, RemoteKey key) const {
    WorkRequest request;
    request.opcode = opcode;
    request.id = 100 + index;
    request.local = local->words() + kDataWord + index;
    request.local_region = local.get();
    request.length_bytes = kWordBytes;
    request.remote_key = key;
    request.remote_offset_bytes = kDataOffset;
    return request;
  }

  RealClock clock;
  std::string address;
  std::unique_ptr<VerbsFabric> fabric;
  std::unique_ptr<CompletionQueue> queue;
  std::unique_ptr<MemoryRegion> local;
};

// One that only knocks: no bytes, no key.
inline WorkRequest Knock(uint32_t immediate) {
  WorkRequest request;
  request.opcode = Opcode::kWriteWithImm;
  request.id = immediate;
  request.immediate = immediate;
  return request;
}

struct VerbsConnection {
  std::unique_ptr<QueuePair> client;
  std::unique_ptr<QueuePair> server;
};

inline VerbsConnection Connect(const VerbsNode& client, const VerbsNode& server) {
  const std::unique_ptr<Listener> listener = Take(server.fabric->Listen());
  VerbsConnection made;
  made.client = Take(client.fabric->Connect(listener->endpoint(), client.queue.get(), ""));
  std::unique_ptr<ConnectionRequest> request;
  Completion completion;
  while (request == nullptr) {
    CHECK_EQ(client.queue->Poll({&completion, 1}), 0u) << made.client->status();
    request = listener->Poll();
  }
  made.server = Take(request->Accept(server.queue.get(), ""));
  completion = client.Await();
  CHECK(completion.kind == CompletionKind::kConnected) << made.client->status();
  return made;
}

inline size_t CountDescriptors() {
  DIR* const directory = opendir("/proc/self/fd");
  PCHECK(directory != nullptr);
  size_t count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

// As the kernel counts them: "0: rxe0: pd 2 cq 1 qp 1 cm_id 0 mr 0 ctx 1".
inline std::string CountAtCards() {
  FILE* const pipe = popen("/bin/rdma resource show", "r");
  PCHECK(pipe != nullptr);
  std::string counts;
  std::array<char, 256> line;
  while (fgets(line.data(), line.size(), pipe) != nullptr) counts += line.data();
  CHECK_EQ(pclose(pipe), 0);
  return counts;
}

// A process of this program that connects, as `mode` says, and waits to be killed.
class Child {
 public:
  Child(const char* mode, const std::string& endpoint) {
    pid_ = fork();
    PCHECK(pid_ >= 0);
    if (pid_ == 0) {
      execl("/proc/self/exe", "verbs_rxe_test", mode, endpoint.c_str(), nullptr);
      _exit(126);
    }
  }
  ~Child() { Kill(); }
  void Kill() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
};

// What such a process does whose threads share a queue pair (verbs_shared_test.cc).
[[noreturn]] void RunSharedChild(const char* endpoint);

// A peer that uses the card as it likes.
class RawPeer {
 public:
  // Asks for a connection, with `hello` as private data; Connect() goes on once somebody accepts.
  RawPeer(const std::string& from, const CmAddress& target, std::string hello)
      : hello_(std::move(hello)) {
    CmAddress source = Take(CmAddress::FromHost(from));
    CmAddress to = target;
    rdma_cm_id* id = nullptr;
    PCHECK(rdma_create_id(nullptr, &id, nullptr, RDMA_PS_TCP) == 0);
    id_ = id;
    PCHECK(rdma_resolve_addr(id_, source.get(), to.get(), 2'000) == 0);
    ibv_qp_init_attr attributes = {};
    attributes.cap = {.max_send_wr = 128,
                      .max_recv_wr = 64,
                      .max_send_sge = 1,
                      .max_recv_sge = 1,
                      .max_inline_data = 0};
    attributes.qp_type = IBV_QPT_RC;
    PCHECK(rdma_create_qp(id_, nullptr, &attributes) == 0);
    PCHECK(rdma_resolve_route(id_, 2'000) == 0);
    memory_.resize(512);
    const int access = IBV_ACCESS_LOCAL_WRITE;
    registration_ = ibv_reg_mr(id_->pd, memory_.data(), memory_.size() * kWordBytes, access);
    PCHECK(registration_ != nullptr);
  }
  ~RawPeer() {
    ibv_dereg_mr(registration_);
    rdma_destroy_qp(id_);
    rdma_destroy_id(id_);
  }

  // Blocks till the peer has answered. False: it was rejected.
  bool Connect() {
    for (int i = 0; i < 64; ++i) {
      ibv_recv_wr receive = {};
      ibv_recv_wr* refused = nullptr;
      PCHECK(ibv_post_recv(id_->qp, &receive, &refused) == 0);
    }
    rdma_conn_param param = {};
    param.private_data = hello_.data();
    param.private_data_len = static_cast<uint8_t>(hello_.size());
    param.responder_resources = 4;
    param.initiator_depth = 4;
    param.retry_count = 6;
    param.rnr_retry_count = 1;
    return rdma_connect(id_, &param) == 0;
  }

  // Sends one request of `bytes`, to `card_key` at `offset`, and returns how it ended.
  ibv_wc_status Send(ibv_wr_opcode opcode, uint32_t immediate, uint32_t bytes = 0,
                     uint32_t card_key = 0, uint64_t offset = 0) {
    Post(opcode, immediate, bytes, card_key, offset);
    ibv_wc done = {};
    while (ibv_poll_cq(id_->send_cq, 1, &done) == 0) {
    }
    return done.status;
  }
  void Post(ibv_wr_opcode opcode, uint32_t immediate, uint32_t bytes = 0, uint32_t card_key = 0,
            uint64_t offset = 0) {
    ibv_sge buffer = {.addr = reinterpret_cast<uintptr_t>(memory_.data()),
                      .length = bytes,
                      .lkey = registration_->lkey};
    ibv_send_wr send = {};
    send.opcode = opcode;
    send.send_flags = IBV_SEND_SIGNALED;
    send.imm_data = htonl(immediate);
    send.sg_list = &buffer;
    send.num_sge = bytes > 0 ? 1 : 0;
    send.wr.rdma.rkey = card_key;
    send.wr.rdma.remote_addr = offset;
    ibv_send_wr* refused = nullptr;
    PCHECK(ibv_post_send(id_->qp, &send, &refused) == 0);
  }

  // Whether another message has come.
  bool TakeReceive() {
    ibv_wc received = {};
    return ibv_poll_cq(id_->recv_cq, 1, &received) == 1;
  }
  // From here on it neither answers nor says that it goes.
  void FallSilent() {
    ibv_qp_attr attributes = {};
    attributes.qp_state = IBV_QPS_ERR;
    PCHECK(ibv_modify_qp(id_->qp, &attributes, IBV_QP_STATE) == 0);
  }

 private:
  rdma_cm_id* id_ = nullptr;
  std::string hello_;
  std::vector<uint64_t> memory_;
  ibv_mr* registration_ = nullptr;
};

// The listener turns it away by itself: nobody above hears of a request.
inline void ExpectRejected(RawPeer* raw, Listener* listener) {
  SharedWord is_over;  // 1: it has been told. Stored by the thread that connects, loaded here.
  std::thread connecting([&] {
    EXPECT_FALSE(raw->Connect());
    is_over.Store(1, std::memory_order_release);
  });
  while (is_over.Load(std::memory_order_acquire) == 0) EXPECT_EQ(listener->Poll(), nullptr);
  connecting.join();
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_TEST_UTIL_H_

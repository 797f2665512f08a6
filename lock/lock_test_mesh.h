// Processes that share locks, for tests: a home, and others that are connected to it and to each other, on
// whatever fabric the test gives them.

#ifndef ACRE_LOCK_LOCK_TEST_MESH_H_
#define ACRE_LOCK_LOCK_TEST_MESH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "lock/local_arena.h"
#include "lock/local_lock.h"
#include "lock/local_locker.h"
#include "lock/local_repair.h"
#include "lock/lock_intent.h"
#include "lock/lock_keeper.h"
#include "lock/lock_repair.h"
#include "lock/remote_cohort.h"
#include "lock/remote_descriptors.h"
#include "lock/remote_locker.h"
#include "lock/remote_repair.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/region_header.h"

namespace acre {

constexpr uint32_t kTestLockRegion = 100;
constexpr uint32_t kTestIntentRegion = 200;  // And up: plus the process's id.
constexpr uint32_t kTestDescriptors = 64;
// A lock and the record that it guards: three lines, so that no two locks share one.
constexpr uint32_t kTestLockStride = 4 * kLineBytes;
constexpr uint32_t kTestRecordOffset = kLineBytes;

constexpr GlobalAddress TestLockAddress(uint32_t number) {
  return GlobalAddress(kTestLockRegion, static_cast<uint32_t>(transport::kRegionHeaderBytes) +
                                            number * kTestLockStride);
}

// One thread of one process.
class LockNode final : public LockPeers {
 public:
  LockNode(std::unique_ptr<transport::Fabric> fabric, Clock* clock, uint32_t process_id,
           Scheduler::Options options = {})
      : fabric_(std::move(fabric)), process_id_(process_id) {
    options.clock = clock;
    options.seed = process_id;
    scheduler_ = std::make_unique<Scheduler>(options);
    auto queue = fabric_->CreateCompletionQueue();
    CHECK(queue.ok()) << queue.status();
    queue_ = *std::move(queue);
    port_ = std::make_unique<transport::Port>(scheduler_.get(), queue_.get());
    auto descriptors = RemoteDescriptors::Create(fabric_.get(), 2, process_id, kTestDescriptors);
    CHECK(descriptors.ok()) << descriptors.status();
    descriptors_ = *std::move(descriptors);
  }
  ~LockNode() override { Close(); }

  // ---- As a home.

  void MakeLocks(uint32_t count) {
    transport::RegionOptions options;
    options.region_id = kTestLockRegion;
    options.size_bytes = transport::kRegionHeaderBytes + size_t{count} * kTestLockStride;
    options.peer_rights = transport::kRightsAll;
    locks_ = MakeRegion(options);
    arena_ = LocalArena::Create(kTestDescriptors * 4);
    lock_thread_ = std::make_unique<LockThread>(scheduler_.get(), arena_.get(),
                                                LockThread::Options{.process_id = process_id_});
    local_locker_ = std::make_unique<LocalLocker>(lock_thread_.get(),
                                                  LockRegions{{kTestLockRegion, locks_->words()}});
  }
  transport::MemoryRegion* lock_region() const { return locks_.get(); }
  LockWords* WordsOf(uint32_t number) const {
    return reinterpret_cast<LockWords*>(locks_->words() +
                                        TestLockAddress(number).offset_bytes() / kWordBytes);
  }
  SharedWord* RecordOf(uint32_t number) const {
    return locks_->words() +
           (TestLockAddress(number).offset_bytes() + kTestRecordOffset) / kWordBytes;
  }
  bool IsFree(uint32_t number) const {
    return WordsOf(number)->local_tail.Load(std::memory_order_acquire) == 0 &&
           WordsOf(number)->remote_tail.Load(std::memory_order_acquire) == 0;
  }
  LocalArena* arena() const { return arena_.get(); }
  LockThread* lock_thread() const { return lock_thread_.get(); }
  LocalLocker* local_locker() const { return local_locker_.get(); }
  // Of that process; null: it is not connected.
  const transport::MemoryRegion* IntentsOf(uint32_t process_id) const {
    const auto found = intents_.find(process_id);
    return found == intents_.end() ? nullptr : found->second.get();
  }

  // ---- As a client.

  RemoteLocker* remote_locker() const { return remote_locker_.get(); }
  const RemoteHome& home() const { return home_; }
  RemoteDescriptors* descriptors() const { return descriptors_.get(); }
  transport::QueuePair* home_queue_pair() const { return home_.queue_pair; }
  transport::RemoteKey lock_key() const { return home_.regions.front().second; }
  transport::RemoteKey intents_key() const { return *home_.intents; }

  Task<absl::StatusOr<Peer>> Find(uint32_t process_id) override {
    const auto found = peers_.find(process_id);
    if (found == peers_.end()) co_return absl::UnavailableError("gone");
    co_return found->second;
  }

  void OnUnreachable(uint32_t process_id) override {
    if (on_unreachable_) on_unreachable_(process_id);
  }
  void SetOnUnreachable(std::function<void(uint32_t)> on_unreachable) {
    on_unreachable_ = std::move(on_unreachable);
  }

  // Who finds the others, before JoinHome: by default this node, which JoinPeer has told of them.
  void SetPeers(LockPeers* peers) { locker_peers_ = peers; }

  // ---- Connections.

  // Lets everybody, and the network, get on a little.
  using Progress = std::function<void()>;

  // Gives `from` what it needs to take locks of `home`.
  static void JoinHome(LockNode* from, LockNode* home, LockKind kind, uint32_t budget,
                       const Progress& progress) {
    transport::QueuePair* const accepted = Connect(from, home, &from->home_.queue_pair, progress);
    from->home_.regions = {
        {kTestLockRegion, Grant(accepted, *home->locks_, transport::kRightsAll)}};
    transport::RegionOptions intents;
    intents.region_id = kTestIntentRegion + from->process_id_;
    intents.size_bytes = LockIntentsBytes(kTestDescriptors);
    intents.peer_rights = transport::kRightWrite;
    auto& region = home->intents_[from->process_id_];
    region = home->MakeRegion(intents);
    from->home_.intents = Grant(accepted, *region, transport::kRightWrite);
    RemoteLocker::Options options;
    options.fabric = from->fabric_.get();
    options.region_id = 3;
    options.cohort.port = from->port_.get();
    options.cohort.home = &from->home_;
    options.cohort.peers = from->locker_peers_;
    options.cohort.descriptors = from->descriptors_.get();
    options.cohort.kind = kind;
    options.cohort.budget = budget;
    auto locker = RemoteLocker::Create(options);
    CHECK(locker.ok()) << locker.status();
    from->remote_locker_ = *std::move(locker);
  }
  // `from` can WRITE the descriptors of `to`.
  static void JoinPeer(LockNode* from, LockNode* to, const Progress& progress) {
    Peer peer;
    transport::QueuePair* const accepted = Connect(from, to, &peer.queue_pair, progress);
    peer.descriptors = Grant(accepted, to->descriptors_->region(), transport::kRightWrite);
    from->peers_[to->process_id_] = peer;
  }

  // Closes all queue pairs with that process, from either side.
  void CloseTo(uint32_t process_id) {
    peers_.erase(process_id);
    for (auto& [id, queue_pair] : queue_pairs_) {
      if (id != process_id || queue_pair == nullptr) continue;
      port_->Forget(queue_pair.get());
      queue_pair.reset();
    }
  }

  // The home can repair its locks; everybody has joined.
  void MakeRepair(LockSurvivors* survivors, GuardedData* data, LockKeeper::Fence* fence,
                  const Progress& progress) {
    transport::QueuePair* loopback = nullptr;
    transport::QueuePair* const accepted = Connect(this, this, &loopback, progress);
    transport::RegionOptions landing;
    landing.region_id = 4;
    landing.size_bytes = transport::kRegionHeaderBytes + kLineBytes;
    repair_landing_ = MakeRegion(landing);
    RemoteRepair::Options options;
    options.port = port_.get();
    options.loopback = loopback;
    options.keys = {{kTestLockRegion, Grant(accepted, *locks_, transport::kRightsAll)}};
    options.landing = repair_landing_->words() + transport::kRegionHeaderBytes / kWordBytes;
    options.landing_region = repair_landing_.get();
    options.regions = {{kTestLockRegion, locks_->words()}};
    options.survivors = survivors;
    options.data = data;
    remote_repair_ = std::make_unique<RemoteRepair>(options);
    for (const auto& [process_id, region] : intents_) {
      remote_repair_->AddProcess(process_id, region->words(), kTestDescriptors);
    }
    local_repair_ =
        std::make_unique<LocalRepair>(scheduler_.get(), arena_.get(), options.regions, data);
    keeper_ = std::make_unique<LockKeeper>(LockKeeper::Options{.scheduler = scheduler_.get(),
                                                               .fence = fence,
                                                               .local = local_repair_.get(),
                                                               .remote = remote_repair_.get()});
  }
  LockKeeper* keeper() const { return keeper_.get(); }
  LocalRepair* local_repair() const { return local_repair_.get(); }
  RemoteRepair* remote_repair() const { return remote_repair_.get(); }

  // As if the process had died: what others have of it breaks.
  void Close() {
    scheduler_->DetachFromThread();
    for (const auto& [id, queue_pair] : queue_pairs_) {
      if (queue_pair != nullptr) port_->Forget(queue_pair.get());
    }
    remote_locker_.reset();
    keeper_.reset();
    local_repair_.reset();
    queue_pairs_.clear();
    local_locker_.reset();
    lock_thread_.reset();
    port_.reset();
  }

  Scheduler& scheduler() { return *scheduler_; }
  transport::Fabric* fabric() { return fabric_.get(); }
  transport::Port* port() { return port_.get(); }
  uint32_t process_id() const { return process_id_; }

 private:
  std::unique_ptr<transport::MemoryRegion> MakeRegion(const transport::RegionOptions& options) {
    auto made = fabric_->CreateRegion(options);
    CHECK(made.ok()) << made.status();
    return *std::move(made);
  }
  static transport::RemoteKey Grant(transport::QueuePair* to, const transport::MemoryRegion& region,
                                    uint32_t rights) {
    auto key = to->Grant(region, rights);
    CHECK(key.ok()) << key.status();
    return *key;
  }
  // Returns the queue pair of the accepting side.
  static transport::QueuePair* Connect(LockNode* from, LockNode* to,
                                       transport::QueuePair** connected, const Progress& progress) {
    auto listener = to->fabric_->Listen();
    CHECK(listener.ok()) << listener.status();
    auto connecting = from->fabric_->Connect((*listener)->endpoint(), from->queue_.get(), "");
    CHECK(connecting.ok()) << connecting.status();
    *connected = connecting->get();
    from->queue_pairs_.emplace_back(to->process_id_, *std::move(connecting));
    transport::QueuePair* accepted = nullptr;
    while ((*connected)->state() == transport::QueuePairState::kConnecting || accepted == nullptr) {
      if (const auto request = (*listener)->Poll()) {
        auto made = request->Accept(to->queue_.get(), "");
        CHECK(made.ok()) << made.status();
        accepted = made->get();
        to->queue_pairs_.emplace_back(from->process_id_, *std::move(made));
      }
      from->port_->Poll();
      to->port_->Poll();
      progress();
    }
    CHECK((*connected)->state() == transport::QueuePairState::kReady);
    return accepted;
  }

  const std::unique_ptr<transport::Fabric> fabric_;
  const uint32_t process_id_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::MemoryRegion> locks_;
  std::map<uint32_t, std::unique_ptr<transport::MemoryRegion>> intents_;
  std::unique_ptr<LocalArena> arena_;
  std::unique_ptr<RemoteDescriptors> descriptors_;
  std::unique_ptr<transport::Port> port_;
  // With whom; null: closed.
  std::vector<std::pair<uint32_t, std::unique_ptr<transport::QueuePair>>> queue_pairs_;
  std::map<uint32_t, Peer> peers_;
  LockPeers* locker_peers_ = this;
  std::function<void(uint32_t)> on_unreachable_;
  RemoteHome home_;
  std::unique_ptr<LockThread> lock_thread_;
  std::unique_ptr<LocalLocker> local_locker_;
  std::unique_ptr<RemoteLocker> remote_locker_;
  std::unique_ptr<transport::MemoryRegion> repair_landing_;
  std::unique_ptr<RemoteRepair> remote_repair_;
  std::unique_ptr<LocalRepair> local_repair_;
  std::unique_ptr<LockKeeper> keeper_;
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCK_TEST_MESH_H_

// MortalFabric: a fabric on which a process dies after so many requests, or within one: for tests of what its peers
// make of that. From then on nothing of it goes out, and nothing completes; that its queue pairs break is for the test
// to see to.

#ifndef ACRE_KVS_MORTAL_FABRIC_TEST_UTIL_H_
#define ACRE_KVS_MORTAL_FABRIC_TEST_UTIL_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "glog/logging.h"
#include "runtime/shared_word.h"
#include "transport/fabric.h"

namespace acre::kvs {

// When it dies.
struct Mortality {
  uint64_t requests_left = UINT64_MAX;  // Of all its queue pairs together.
  // Of the one behind those, if it is a WRITE: so many words still land, its first ones or its last.
  uint32_t words = 0;
  bool are_last_words = false;

  uint64_t requests_count = 0;  // That went out.
  bool is_dead = false;
  std::vector<uint32_t> words_of_writes;  // Of each request; 0: no WRITE.
};

class MortalQueuePair final : public transport::QueuePair {
 public:
  using Names = std::map<const transport::QueuePair*, transport::QueuePair*>;

  MortalQueuePair(std::unique_ptr<transport::QueuePair> real, Mortality* mortality, Names* names)
      : real_(std::move(real)), mortality_(mortality), names_(names) {
    (*names_)[real_.get()] = this;
  }
  ~MortalQueuePair() override { names_->erase(real_.get()); }

  absl::StatusOr<transport::RemoteKey> Grant(const transport::MemoryRegion& region,
                                             uint32_t rights) override {
    return real_->Grant(region, rights);
  }
  absl::StatusOr<transport::MappedRegion> Map(transport::RemoteKey key) override {
    return real_->Map(key);
  }
  transport::QueuePairState state() const override { return real_->state(); }
  absl::Status status() const override { return real_->status(); }
  absl::string_view peer_private_data() const override { return real_->peer_private_data(); }
  int peer_pid() const override { return real_->peer_pid(); }

 protected:
  absl::Status DoPost(absl::Span<const transport::WorkRequest> batch) override {
    if (mortality_->is_dead) return absl::OkStatus();
    const size_t count = std::min<uint64_t>(batch.size(), mortality_->requests_left);
    if (count > 0) {
      absl::Status status = real_->Post(batch.first(count));
      if (!status.ok()) return status;
    }
    for (size_t i = 0; i < count; ++i) CountOne(batch[i]);
    if (count < batch.size()) Die(batch[count]);
    return absl::OkStatus();
  }
  bool DoReadAtOnce(const transport::WorkRequest& request,
                    transport::CompletionStatus* status) override {
    if (mortality_->is_dead || mortality_->requests_left == 0) return false;
    if (!real_->ReadAtOnce(request, status)) return false;
    CountOne(request);
    return true;
  }

 private:
  void CountOne(const transport::WorkRequest& request) {
    --mortality_->requests_left;
    ++mortality_->requests_count;
    const bool is_write = request.opcode == transport::Opcode::kWrite;
    mortality_->words_of_writes.push_back(is_write ? request.length_bytes / kWordBytes : 0);
  }
  void Die(transport::WorkRequest last) {
    mortality_->is_dead = true;
    if (last.opcode != transport::Opcode::kWrite || mortality_->words == 0) return;
    const uint32_t bytes = mortality_->words * static_cast<uint32_t>(kWordBytes);
    CHECK_LE(bytes, last.length_bytes);
    if (mortality_->are_last_words) {
      last.local += (last.length_bytes - bytes) / kWordBytes;
      last.remote_offset_bytes += last.length_bytes - bytes;
    }
    last.length_bytes = bytes;
    last.signaled = false;
    const absl::Status status = real_->Post({&last, 1});
    CHECK(status.ok()) << status;
  }

  const std::unique_ptr<transport::QueuePair> real_;
  Mortality* const mortality_;
  Names* const names_;
};

class MortalFabric final : public transport::Fabric {
 public:
  MortalFabric(std::unique_ptr<transport::Fabric> real, Mortality* mortality)
      : real_(std::move(real)), mortality_(mortality) {}

  const transport::DeviceAttributes& device() const override { return real_->device(); }
  absl::StatusOr<std::unique_ptr<transport::MemoryRegion>> CreateRegion(
      const transport::RegionOptions& options) override {
    return real_->CreateRegion(options);
  }
  absl::StatusOr<std::unique_ptr<transport::CompletionQueue>> CreateCompletionQueue() override {
    auto real = real_->CreateCompletionQueue();
    if (!real.ok()) return real.status();
    return std::make_unique<Queue>(*std::move(real), &names_);
  }
  // What is accepted is immortal: peers see it break when they look.
  absl::StatusOr<std::unique_ptr<transport::Listener>> Listen() override {
    auto real = real_->Listen();
    if (!real.ok()) return real.status();
    return std::make_unique<Door>(*std::move(real));
  }
  absl::StatusOr<std::unique_ptr<transport::QueuePair>> Connect(
      absl::string_view endpoint, transport::CompletionQueue* queue,
      absl::string_view private_data) override {
    auto real = real_->Connect(endpoint, static_cast<Queue*>(queue)->real(), private_data);
    if (!real.ok()) return real.status();
    return std::make_unique<MortalQueuePair>(*std::move(real), mortality_, &names_);
  }

 private:
  class Queue final : public transport::CompletionQueue {
   public:
    Queue(std::unique_ptr<transport::CompletionQueue> real, const MortalQueuePair::Names* names)
        : real_(std::move(real)), names_(names) {}
    size_t Poll(absl::Span<transport::Completion> completions) override {
      const size_t count = real_->Poll(completions);
      for (size_t i = 0; i < count; ++i) {
        const auto name = names_->find(completions[i].queue_pair);
        if (name != names_->end()) completions[i].queue_pair = name->second;
      }
      return count;
    }
    void Arm() override { real_->Arm(); }
    void Disarm() override { real_->Disarm(); }
    int fd() const override { return real_->fd(); }
    transport::CompletionQueue* real() const { return real_.get(); }

   private:
    const std::unique_ptr<transport::CompletionQueue> real_;
    const MortalQueuePair::Names* const names_;
  };
  class Request final : public transport::ConnectionRequest {
   public:
    explicit Request(std::unique_ptr<transport::ConnectionRequest> real) : real_(std::move(real)) {}
    absl::string_view private_data() const override { return real_->private_data(); }
    std::string peer() const override { return real_->peer(); }
    absl::StatusOr<std::unique_ptr<transport::QueuePair>> Accept(
        transport::CompletionQueue* queue, absl::string_view private_data) override {
      return real_->Accept(static_cast<Queue*>(queue)->real(), private_data);
    }

   private:
    const std::unique_ptr<transport::ConnectionRequest> real_;
  };
  class Door final : public transport::Listener {
   public:
    explicit Door(std::unique_ptr<transport::Listener> real) : real_(std::move(real)) {}
    std::string endpoint() const override { return real_->endpoint(); }
    int fd() const override { return real_->fd(); }
    std::unique_ptr<transport::ConnectionRequest> Poll() override {
      auto request = real_->Poll();
      if (request == nullptr) return nullptr;
      return std::make_unique<Request>(std::move(request));
    }

   private:
    const std::unique_ptr<transport::Listener> real_;
  };

  const std::unique_ptr<transport::Fabric> real_;
  Mortality* const mortality_;
  MortalQueuePair::Names names_;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_MORTAL_FABRIC_TEST_UTIL_H_

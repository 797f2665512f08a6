// File descriptors of a World, and how a Scheduler sleeps in it.

#ifndef ACRE_RUNTIME_SIM_DESCRIPTOR_H_
#define ACRE_RUNTIME_SIM_DESCRIPTOR_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "runtime/sleeper.h"

namespace acre::sim {

class MachineClock;
class Thread;
class World;
class WorldSleeper;

// A file descriptor that is no kernel's: readable or not, as its owner says. Schedulers whose clock
// is a Machine's watch its number (Scheduler::WatchFd, EPOLLIN, level-triggered) and sleep until it
// is readable. What a completion queue or a listener of transport/sim has in place of an eventfd.
//
// Ownership: must go before the World, or never (its process was killed).
class Descriptor {
 public:
  explicit Descriptor(World* world);
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  // Above all numbers that a kernel gives; never used again in this World.
  int fd() const { return fd_; }
  bool readable() const { return readable_; }
  // From anywhere in the World, also outside of threads. Wakes those that sleep. No access of
  // simulated memory and no scheduling point.
  void SetReadable(bool readable);

 private:
  friend class WorldSleeper;

  World* const world_;
  const int fd_;
  bool readable_ = false;
  std::vector<WorldSleeper*> watchers_;
};

// What MachineClock::NewSleeper gives.
class WorldSleeper final : public Sleeper {
 public:
  WorldSleeper(World* world, MachineClock* clock) : world_(world), clock_(clock) {}
  ~WorldSleeper() override;

  absl::Status Watch(int fd, uint32_t epoll_events, void* data) override;
  void Modify(int fd, uint32_t epoll_events, void* data) override;
  void Unwatch(int fd) override;
  size_t Wait(absl::Span<epoll_event> events, uint64_t timeout_ns) override;
  void Wake() override;

 private:
  friend class Descriptor;

  struct Watched {
    Descriptor* descriptor;
    uint32_t epoll_events;
    void* data;
  };

  Watched* Find(int fd);
  size_t Collect(absl::Span<epoll_event> events);
  void WakeSleeping();

  World* const world_;
  MachineClock* const clock_;
  std::vector<Watched> watched_;
  bool wake_pending_ = false;
  Thread* sleeping_ = nullptr;  // In Wait.
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_DESCRIPTOR_H_

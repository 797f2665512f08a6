#include "runtime/sim/descriptor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/sim/world.h"

namespace acre::sim {
namespace {

// Linux lets a process have at most 2^30 or so, from 0.
constexpr int kFirstFd = 1 << 30;

}  // namespace

Descriptor::Descriptor(World* world)
    : world_(world), fd_(kFirstFd + static_cast<int>(world->descriptors_.size())) {
  world_->descriptors_.push_back(this);
}

Descriptor::~Descriptor() {
  CHECK(watchers_.empty()) << "closed before UnwatchFd";
  world_->descriptors_[static_cast<size_t>(fd_ - kFirstFd)] = nullptr;
}

void Descriptor::SetReadable(bool readable) {
  if (readable_ == readable) return;
  readable_ = readable;
  if (!readable) return;
  for (WorldSleeper* const sleeper : watchers_) sleeper->WakeSleeping();
}

WorldSleeper::~WorldSleeper() {
  while (!watched_.empty()) Unwatch(watched_.back().descriptor->fd());
}

WorldSleeper::Watched* WorldSleeper::Find(int fd) {
  for (Watched& watched : watched_) {
    if (watched.descriptor->fd() == fd) return &watched;
  }
  return nullptr;
}

absl::Status WorldSleeper::Watch(int fd, uint32_t epoll_events, void* data) {
  if (Find(fd) != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("descriptor ", fd, " is watched already"));
  }
  const auto index = static_cast<size_t>(fd - kFirstFd);
  const bool simulated = fd >= kFirstFd && index < world_->descriptors_.size();
  if (!simulated || world_->descriptors_[index] == nullptr || (epoll_events & EPOLLET) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(fd, " is no open descriptor of the simulator, or is to be edge-triggered"));
  }
  Descriptor* const descriptor = world_->descriptors_[index];
  watched_.push_back({descriptor, epoll_events, data});
  descriptor->watchers_.push_back(this);
  return absl::OkStatus();
}

void WorldSleeper::Modify(int fd, uint32_t epoll_events, void* data) {
  Watched* const watched = Find(fd);
  CHECK(watched != nullptr) << "descriptor " << fd << " is not watched";
  watched->epoll_events = epoll_events;
  watched->data = data;
}

void WorldSleeper::Unwatch(int fd) {
  Watched* const watched = Find(fd);
  CHECK(watched != nullptr) << "descriptor " << fd << " is not watched";
  std::erase(watched->descriptor->watchers_, this);
  watched_.erase(watched_.begin() + (watched - watched_.data()));
}

size_t WorldSleeper::Collect(absl::Span<epoll_event> events) {
  size_t count = 0;
  const auto report = [&](uint32_t what, void* data) {
    events[count] = {};
    events[count].events = what;
    events[count].data.ptr = data;
    ++count;
  };
  if (std::exchange(wake_pending_, false)) report(EPOLLIN, nullptr);
  // The kernel promises no order either.
  const size_t start = watched_.empty() ? 0 : world_->costs().Bits(16) % watched_.size();
  for (size_t i = 0; i < watched_.size() && count < events.size(); ++i) {
    const Watched& watched = watched_[(start + i) % watched_.size()];
    const bool reports = (watched.epoll_events & EPOLLIN) != 0;
    if (reports && watched.descriptor->readable()) report(EPOLLIN, watched.data);
  }
  return count;
}

size_t WorldSleeper::Wait(absl::Span<epoll_event> events, uint64_t timeout_ns) {
  Thread* const thread = world_->current_thread();
  CHECK(thread != nullptr) << "waits outside of the simulated threads: time would stand still";
  world_->SpendSystemCall();
  size_t count = Collect(events);
  if (count != 0 || timeout_ns == 0) return count;
  // The kernel's timers are late at times.
  const uint64_t slack_ns = world_->costs().Bits(16);
  const uint64_t deadline_ns = world_->NowNs() + clock_->TrueNs(timeout_ns) + slack_ns;
  // No scheduling point lies between a Collect and its Block: no wake-up is lost.
  sleeping_ = thread;
  while (count == 0 && world_->NowNs() < deadline_ns) {
    world_->Block(deadline_ns - world_->NowNs());
    count = Collect(events);
  }
  sleeping_ = nullptr;
  return count;
}

void WorldSleeper::Wake() {
  wake_pending_ = true;
  WakeSleeping();
  if (simulated_cpu != nullptr) world_->SpendSystemCall();
}

void WorldSleeper::WakeSleeping() {
  if (sleeping_ != nullptr) world_->Wake(sleeping_, world_->WakeUpNs());
}

}  // namespace acre::sim

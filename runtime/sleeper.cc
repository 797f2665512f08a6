#include "runtime/sleeper.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre {
namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;
constexpr uint64_t kNsPerMs = 1'000'000;

class EpollSleeper final : public Sleeper {
 public:
  EpollSleeper() : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)) {
    PCHECK(epoll_fd_ >= 0) << "epoll_create1";
    wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    PCHECK(wake_fd_ >= 0) << "eventfd";
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;  // What marks the wake-up.
    PCHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) == 0);
  }
  ~EpollSleeper() override {
    close(wake_fd_);
    close(epoll_fd_);
  }

  absl::Status Watch(int fd, uint32_t epoll_events, void* data) override {
    epoll_event event{};
    event.events = epoll_events;
    event.data.ptr = data;
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot watch file descriptor ", fd));
  }

  void Modify(int fd, uint32_t epoll_events, void* data) override {
    epoll_event event{};
    event.events = epoll_events;
    event.data.ptr = data;
    PCHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0) << "closed before UnwatchFd?";
  }

  void Unwatch(int fd) override {
    PCHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr) == 0) << "closed before UnwatchFd?";
  }

  size_t Wait(absl::Span<epoll_event> events, uint64_t timeout_ns) override;

  void Wake() override {
    const uint64_t one = 1;
    // Fails only when it is at its maximum: readable.
    (void)!write(wake_fd_, &one, sizeof(one));
  }

 private:
  const int epoll_fd_;
  int wake_fd_;  // An eventfd. Constant after construction.
  bool has_epoll_pwait2_ = true;
};

size_t EpollSleeper::Wait(absl::Span<epoll_event> events, uint64_t timeout_ns) {
  const int events_max = static_cast<int>(events.size());
  int count = -1;
  if (has_epoll_pwait2_ && timeout_ns > 0) {
    timespec timeout;
    timeout.tv_sec = static_cast<time_t>(timeout_ns / kNsPerS);
    timeout.tv_nsec = static_cast<decltype(timeout.tv_nsec)>(timeout_ns % kNsPerS);
    count = epoll_pwait2(epoll_fd_, events.data(), events_max, &timeout, nullptr);
    if (count < 0 && errno == ENOSYS) has_epoll_pwait2_ = false;  // Before Linux 5.11.
  }
  if (!has_epoll_pwait2_ || timeout_ns == 0) {
    const auto timeout_ms = static_cast<int>((timeout_ns + kNsPerMs - 1) / kNsPerMs);
    count = epoll_wait(epoll_fd_, events.data(), events_max, timeout_ms);
  }
  if (count < 0) {
    PCHECK(errno == EINTR) << "epoll_wait";
    return 0;
  }
  for (const epoll_event& event : events.first(static_cast<size_t>(count))) {
    if (event.data.ptr != nullptr) continue;
    uint64_t wakes;
    (void)!read(wake_fd_, &wakes, sizeof(wakes));  // Cannot fail but for "nothing there".
  }
  return static_cast<size_t>(count);
}

}  // namespace

std::unique_ptr<Sleeper> NewEpollSleeper() { return std::make_unique<EpollSleeper>(); }

}  // namespace acre

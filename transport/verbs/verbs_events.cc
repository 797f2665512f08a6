#include "transport/verbs/verbs_events.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

// A card that says the same for ever must not keep whoever called Take() from its other work.
constexpr int kEventsPerTake = 16;

void LogToGlog(VerbsEvents::Level level, const std::string& line) {
  if (level == VerbsEvents::Level::kWarning) {
    LOG(WARNING) << line;
  } else {
    LOG(INFO) << line;
  }
}

// Of kinds that peers, or broken peers, can bring about in any number.
bool IsToldSeldom(VerbsEventKind kind) {
  return kind == VerbsEventKind::kQueuePairFailed || kind == VerbsEventKind::kCompletionQueueFailed;
}

bool IsPeersDoing(ibv_event_type type) {
  return type == IBV_EVENT_QP_ACCESS_ERR || type == IBV_EVENT_QP_REQ_ERR;
}

absl::string_view WhatHappened(const ibv_async_event& event) {
  switch (KindOf(event.event_type)) {
    case VerbsEventKind::kPortDown:
      return "it has lost its link; connections over it break in some seconds, "
             "unless it comes back: look at cable and switch, at `rdma link` and `ip link`";
    case VerbsEventKind::kPortUp:
      return "it has a link again; what broke meanwhile is connected anew by its clients";
    case VerbsEventKind::kPortChanged:
      return "its addresses, or the network's manager, changed; "
             "where connections break now and do not come back, `kv_doctor` says what is missing";
    case VerbsEventKind::kCardFailed:
      return "it has failed, or was taken away, and all connections over it are lost: "
             "look at `dmesg` and `rdma link`; start this process again once the card is back";
    case VerbsEventKind::kQueuePairFailed:
      return IsPeersDoing(event.event_type)
                 ? "a peer asked for what it may not have: a client of another release, "
                   "or a hostile one; its connection breaks, the others go on"
                 : "the card could not go on with a connection, which its client makes anew; "
                   "if there are many: look at `dmesg`, and at the card's firmware";
    case VerbsEventKind::kCompletionQueueFailed:
      return "a completion queue is lost with all its connections, which should not be: "
             "start this process again, look at `dmesg`, and report it";
    case VerbsEventKind::kUnremarkable:
      return "nothing to worry about";
  }
  LOG(FATAL) << "not a VerbsEventKind";
}

}  // namespace

VerbsEventKind KindOf(ibv_event_type type) {
  switch (type) {
    case IBV_EVENT_PORT_ERR:
      return VerbsEventKind::kPortDown;
    case IBV_EVENT_PORT_ACTIVE:
      return VerbsEventKind::kPortUp;
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_CLIENT_REREGISTER:
    case IBV_EVENT_GID_CHANGE:
      return VerbsEventKind::kPortChanged;
    case IBV_EVENT_DEVICE_FATAL:
      return VerbsEventKind::kCardFailed;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_PATH_MIG_ERR:
      return VerbsEventKind::kQueuePairFailed;
    case IBV_EVENT_CQ_ERR:
      return VerbsEventKind::kCompletionQueueFailed;
    // Of shared receive queues and receive work queues, which we have not, too.
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
    case IBV_EVENT_SRQ_ERR:
    case IBV_EVENT_SRQ_LIMIT_REACHED:
    case IBV_EVENT_WQ_FATAL:
      return VerbsEventKind::kUnremarkable;
  }
  // A kernel's newer than this.
  return VerbsEventKind::kUnremarkable;
}

std::string VerbsEventText(absl::string_view card, const ibv_async_event& event) {
  std::string where = absl::StrCat("card ", card);
  switch (KindOf(event.event_type)) {
    case VerbsEventKind::kPortDown:
    case VerbsEventKind::kPortUp:
    case VerbsEventKind::kPortChanged:
      absl::StrAppend(&where, ", port ", event.element.port_num);
      break;
    case VerbsEventKind::kQueuePairFailed:
      absl::StrAppend(&where, ", queue pair ", event.element.qp->qp_num);
      break;
    case VerbsEventKind::kCardFailed:
    case VerbsEventKind::kCompletionQueueFailed:
    case VerbsEventKind::kUnremarkable:
      break;
  }
  return absl::StrCat(where, ": ", WhatHappened(event), " (", ibv_event_type_str(event.event_type),
                      ")");
}

VerbsEvents::VerbsEvents(ibv_context* context, Log log)
    : context_(context),
      card_(ibv_get_device_name(context->device)),
      log_(log ? std::move(log) : LogToGlog) {
  const int flags = fcntl(fd(), F_GETFL);
  PCHECK(fcntl(fd(), F_SETFL, flags | O_NONBLOCK) == 0);
}

bool VerbsEvents::Take() {
  for (int i = 0; i < kEventsPerTake; ++i) {
    ibv_async_event event = {};
    // Reads one event in one system call: others that take them at the same time get others.
    errno = 0;
    if (ibv_get_async_event(context_, &event) != 0) {
      return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    }
    // Before it is acknowledged: a queue that it is about does not go before that.
    Note(event);
    ibv_ack_async_event(&event);
  }
  return true;
}

void VerbsEvents::TakeFor(int epoll_fd) {
  if (!Take()) PCHECK(epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd(), nullptr) == 0);
}

uint64_t VerbsEvents::Count(VerbsEventKind kind) const {
  MutexLock lock(&mutex_);
  return counts_[static_cast<size_t>(kind)];
}

void VerbsEvents::Note(const ibv_async_event& event) {
  const VerbsEventKind kind = KindOf(event.event_type);
  MutexLock lock(&mutex_);
  const uint64_t count = ++counts_[static_cast<size_t>(kind)];
  if (kind == VerbsEventKind::kUnremarkable) return;
  if (IsToldSeldom(kind) && !std::has_single_bit(count)) return;
  const bool is_note = kind == VerbsEventKind::kPortUp || kind == VerbsEventKind::kPortChanged;
  log_(is_note ? Level::kNote : Level::kWarning,
       absl::StrCat(VerbsEventText(card_, event),
                    count == 1 ? "" : absl::StrCat("; number ", count, " of its kind")));
}

}  // namespace acre::transport

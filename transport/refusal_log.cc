#include "transport/refusal_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::transport {

absl::string_view RefusalReasonName(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::kVersion:
      return "version";
    case RefusalReason::kNoSecret:
      return "no_secret";
    case RefusalReason::kSecret:
      return "secret";
    case RefusalReason::kNoneToProve:
      return "none_to_prove";
    case RefusalReason::kNonsense:
      return "nonsense";
    case RefusalReason::kToken:
      return "token";
    case RefusalReason::kCrowd:
      return "crowd";
  }
  LOG(FATAL) << "not a RefusalReason";
}

RefusalLog::RefusalLog(std::function<void(const std::string&)> log)
    : log_(log ? std::move(log) : [](const std::string& line) { LOG(WARNING) << line; }) {}

void RefusalLog::Note(RefusalReason reason, absl::string_view peer, const absl::Status& why,
                      uint64_t now_ns) {
  Entry& entry = entries_[static_cast<size_t>(reason)];
  const uint64_t count = entry.count.Load(std::memory_order_relaxed) + 1;
  entry.count.Store(count, std::memory_order_relaxed);
  if (now_ns < entry.next_line_ns) return;
  entry.next_line_ns = now_ns + kLineIntervalNs;
  const uint64_t untold = count - entry.told_count - 1;
  entry.told_count = count;
  log_(absl::StrCat("a client at ", peer, " is refused: ", why.message(),
                    untold == 0 ? "" : absl::StrCat(" (and ", untold, " like it before)"),
                    "; no more of this kind are told for a minute"));
}

uint64_t RefusalLog::Count(RefusalReason reason) const {
  return entries_[static_cast<size_t>(reason)].count.Load(std::memory_order_relaxed);
}

}  // namespace acre::transport

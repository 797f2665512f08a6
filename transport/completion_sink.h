// Who takes the completions of a queue pair that no coroutine awaits.

#ifndef ACRE_TRANSPORT_COMPLETION_SINK_H_
#define ACRE_TRANSPORT_COMPLETION_SINK_H_

#include <cstdint>

#include "transport/fabric.h"

namespace acre::transport {

// Takes the completions of one queue pair that no coroutine awaits.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  virtual void OnCompletion(const Completion& completion) = 0;
};

// Ids of work requests that are posted past the port (by a channel) have this bit set; the port's
// have not.
constexpr uint64_t kSinkIdBit = uint64_t{1} << 63;

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_COMPLETION_SINK_H_

#include "transport/fabric.h"

namespace acre::transport {

const char* CompletionStatusName(CompletionStatus status) {
  switch (status) {
    case CompletionStatus::kOk:
      return "ok";
    case CompletionStatus::kLocalError:
      return "local error";
    case CompletionStatus::kBadKey:
      return "bad key";
    case CompletionStatus::kAccess:
      return "access";
    case CompletionStatus::kBounds:
      return "bounds";
    case CompletionStatus::kAtomicDomain:
      return "atomic domain";
    case CompletionStatus::kRetryExceeded:
      return "retry exceeded";
    case CompletionStatus::kFlushed:
      return "flushed";
  }
  return "unknown";
}

}  // namespace acre::transport

// What repair of locks needs of others, on either side of the dead one: docs/alock.md, "Repair".

#ifndef ACRE_LOCK_LOCK_REPAIR_H_
#define ACRE_LOCK_LOCK_REPAIR_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lock/lock_words.h"
#include "runtime/task.h"
#include "transport/address.h"

namespace acre {

// Repairs what a lock guards, from what the dead one had announced, before anybody else gets the lock. Called
// when nobody can be inside but the dead.
class GuardedData {
 public:
  virtual ~GuardedData() = default;
  // Of each of these acquisitions at most the last that was granted was unfinished; which one that is, only
  // what they announced tells: apply what names a version above the one that stands there.
  virtual void RepairLocal(GlobalAddress lock, LocalWord dead) = 0;
  virtual void RepairRemote(GlobalAddress lock, absl::Span<const RemoteWord> dead) = 0;
};

// The home's way to processes that hold or await its locks remotely. Each call is a message to the process of
// `word`, which answers with what RemoteDescriptors says there. It has closed its queue pairs with all of `dead`
// before it answers.
// Errors: Unavailable, DeadlineExceeded - it does not answer: it counts as dead, too.
class LockSurvivors {
 public:
  virtual ~LockSurvivors() = default;
  virtual Task<absl::StatusOr<bool>> StandBy(RemoteWord word, absl::Span<const uint32_t> dead) = 0;
  virtual Task<absl::Status> SetSuccessor(RemoteWord word, RemoteWord successor) = 0;
  virtual Task<absl::StatusOr<bool>> HasGrant(RemoteWord word, absl::Span<const uint32_t> dead) = 0;
  virtual Task<absl::Status> GrantLeadership(RemoteWord word) = 0;
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCK_REPAIR_H_

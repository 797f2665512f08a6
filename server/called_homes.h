// CalledHomes: the other servers of the cluster, asked by the calls of kvs/transaction_wire.h. How a call gets there is for
// who derives from it to say.
//
// Threads: as OtherHomes.

#ifndef ACRE_SERVER_CALLED_HOMES_H_
#define ACRE_SERVER_CALLED_HOMES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvs/transaction_home.h"
#include "kvs/transaction_id.h"
#include "kvs/wire.h"
#include "runtime/task.h"
#include "server/transaction_ends.h"

namespace acre::server {

class CalledHomes : public OtherHomes {
 public:
  // Whatever it is, it may be another time: Unavailable.
  static absl::Status NotNow(const absl::Status& status);

  Task<absl::StatusOr<kvs::TransactionOutcome>> Promise(kvs::TransactionParticipant participant,
                                                        kvs::TransactionId id) override;
  Task<absl::Status> Resolve(kvs::TransactionParticipant participant, kvs::TransactionId id,
                             bool commit) override;
  Task<absl::Status> Close(kvs::TransactionParticipant participant,
                           kvs::TransactionThread thread) override;

 protected:
  // One call of that very incarnation. The arguments outlive the task. FailedPrecondition: it is gone for good. Else
  // *answered says whether the status is what the other one's handler said; if not, it is Unavailable.
  virtual Task<absl::Status> Ask(const kvs::TransactionParticipant& participant, kvs::Method method,
                                 const std::string& request, std::string* response,
                                 bool* answered) = 0;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_CALLED_HOMES_H_

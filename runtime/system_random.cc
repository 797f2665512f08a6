#include "runtime/system_random.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#include "glog/logging.h"

namespace acre {

void FillSystemRandom(absl::Span<uint8_t> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = getrandom(bytes.data() + done, bytes.size() - done, 0);
    PCHECK(got > 0 || errno == EINTR) << "getrandom";
    if (got > 0) done += static_cast<size_t>(got);
  }
}

}  // namespace acre

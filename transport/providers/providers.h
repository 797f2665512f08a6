// Providers: the fabrics by the names that --fabric gives them, in every program.

#ifndef ACRE_TRANSPORT_PROVIDERS_PROVIDERS_H_
#define ACRE_TRANSPORT_PROVIDERS_PROVIDERS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::transport {

// "shm", "verbs", "tcp": all there are, the best first.
absl::Span<const absl::string_view> ProviderNames();

// OK, or InvalidArgument: there is no such fabric; the message lists those there are.
absl::Status JudgeProvider(absl::string_view name);

// OK, or InvalidArgument: a card is asked for (ProviderOptions::device), and none of the fabrics that were chosen
// by name goes over cards; the message says what to do. Where a program chooses by itself (auto), there is
// nothing to judge.
absl::Status JudgeDevice(absl::string_view device, absl::Span<const std::string> fabrics);

// ProviderOptions::threads_per_qp.
constexpr uint32_t kThreadsPerQpMax = 32;

struct ProviderOptions {
  Clock* clock = nullptr;  // Outlives the fabric.
  // This process's incarnation, for region headers. 0: a random one.
  uint64_t generation = 0;
  bool death_marks = true;  // shm: ShmFabric::Options.
  // Numeric address of this machine that peers come to, as far as the provider has addresses. "": tcp listens
  // on loopback.
  std::string listen_host = {};
  // verbs: the card, by its name ("mlx5_0") or by one of this machine's addresses on it. "": the one that
  // listen_host is on, else the first that can be used.
  std::string device = {};
  // verbs: how many threads share a queue pair to a peer (VerbsFabric::Options). 1: none do.
  uint32_t threads_per_qp = 1;
};

// Errors: that of JudgeProvider(), and those of the provider's Create(). NotFound: this machine has no such
// network (verbs without a card). FailedPrecondition: it has one that will not do; the message says why.
absl::StatusOr<std::unique_ptr<Fabric>> OpenProvider(absl::string_view name,
                                                     const ProviderOptions& options);

// The same for threads that share queue pairs, which takes that they share the fabric: who asks for the same device
// and number of threads meanwhile gets the same one, on a clock of its own. `options.clock` is not used.
// Threads: any.
absl::StatusOr<std::shared_ptr<Fabric>> OpenSharedProvider(absl::string_view name,
                                                           ProviderOptions options);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_PROVIDERS_PROVIDERS_H_

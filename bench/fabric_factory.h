// Fabrics by the name that users give them with --fabric.

#ifndef ACRE_BENCH_FABRIC_FACTORY_H_
#define ACRE_BENCH_FABRIC_FACTORY_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::bench {

// OK, or InvalidArgument: there is no such fabric; the message lists those there are.
absl::Status JudgeFabric(absl::string_view name);

// `clock` outlives the fabric. Errors: that of JudgeFabric(), those of the provider.
absl::StatusOr<std::unique_ptr<transport::Fabric>> OpenFabric(absl::string_view name, Clock* clock);

}  // namespace acre::bench

#endif  // ACRE_BENCH_FABRIC_FACTORY_H_

// Holds the providers of the fabric to the contract of transport/fabric.h.
//
//   bazel test //transport/conformance:conformance_test                                all that this machine has
//   bazel run //transport/conformance:conformance_test -- --provider=shm --atomicity=hca
//   bazel test //transport/conformance:conformance_verbs_test                          verbs, in a virtual machine

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gflags/gflags.h"
#include "gtest/gtest.h"
#include "transport/conformance/provider_under_test.h"

DEFINE_string(provider, "",
              "which provider: shm, tcp, verbs; by default all that this machine has");
DEFINE_string(atomicity, "", "hca or global; by default all that the provider has");

namespace acre::transport {
namespace {

using MakeProvider = std::unique_ptr<ProviderUnderTest> (*)(Atomicity);

struct NamedProvider {
  const char* name;
  MakeProvider make;
};
// Those that every machine has, of both kinds.
constexpr NamedProvider kProviders[] = {{"shm", MakeShmUnderTest}, {"tcp", MakeTcpUnderTest}};

bool IsAsked(const char* provider) { return FLAGS_provider.empty() || FLAGS_provider == provider; }
bool IsAsked(Atomicity atomicity) {
  return FLAGS_atomicity.empty() ||
         FLAGS_atomicity == (atomicity == Atomicity::kHca ? "hca" : "global");
}

// What is asked for and cannot be had is an error, whatever else there is.
absl::Status PickProviders() {
  std::vector<std::unique_ptr<ProviderUnderTest>>& providers = ProvidersUnderTest();
  for (const NamedProvider& provider : kProviders) {
    if (!IsAsked(provider.name)) continue;
    for (const Atomicity atomicity : {Atomicity::kHca, Atomicity::kGlobal}) {
      if (IsAsked(atomicity)) providers.push_back(provider.make(atomicity));
    }
  }
  if (IsAsked("verbs")) {
    for (const uint32_t threads_per_qp : {1u, 3u}) {
      absl::StatusOr<std::unique_ptr<ProviderUnderTest>> verbs = MakeVerbsUnderTest(threads_per_qp);
      if (!verbs.ok() && !FLAGS_provider.empty()) return verbs.status();
      if (verbs.ok() && IsAsked((*verbs)->atomicity())) providers.push_back(*std::move(verbs));
    }
  }
  if (!providers.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "--provider is shm, tcp or verbs, --atomicity is hca or global");
}

}  // namespace

}  // namespace acre::transport

int main(int argc, char** argv) {
  gflags::AllowCommandLineReparsing();
  gflags::ParseCommandLineNonHelpFlags(&argc, &argv, true);
  if (const absl::Status picked = acre::transport::PickProviders(); !picked.ok()) {
    std::cerr << picked.message() << "\n";
    return 2;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

// Holds the providers of the fabric to the contract of transport/fabric.h.
//
//   bazel test //transport:conformance_test                                  all that this machine
//   has bazel run //transport:conformance_test -- --provider=shm --atomicity=hca

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gflags/gflags.h"
#include "gtest/gtest.h"
#include "transport/conformance/provider_under_test.h"

DEFINE_string(provider, "", "which provider: shm, tcp; by default all that this machine has");
DEFINE_string(atomicity, "", "hca or global; by default all that the provider has");

namespace acre::transport {
namespace {

using MakeProvider = std::unique_ptr<ProviderUnderTest> (*)(Atomicity);

struct NamedProvider {
  const char* name;
  MakeProvider make;
};
constexpr NamedProvider kProviders[] = {{"shm", MakeShmUnderTest}, {"tcp", MakeTcpUnderTest}};

// False: no such provider, or no such atomicity.
bool PickProviders() {
  if (!FLAGS_atomicity.empty() && FLAGS_atomicity != "hca" && FLAGS_atomicity != "global")
    return false;
  for (const NamedProvider& provider : kProviders) {
    if (!FLAGS_provider.empty() && FLAGS_provider != provider.name) continue;
    if (FLAGS_atomicity != "global") ProvidersUnderTest().push_back(provider.make(Atomicity::kHca));
    if (FLAGS_atomicity != "hca") ProvidersUnderTest().push_back(provider.make(Atomicity::kGlobal));
  }
  return !ProvidersUnderTest().empty();
}

}  // namespace

}  // namespace acre::transport

int main(int argc, char** argv) {
  gflags::AllowCommandLineReparsing();
  gflags::ParseCommandLineNonHelpFlags(&argc, &argv, true);
  if (!acre::transport::PickProviders()) {
    std::cerr << "--provider is shm or tcp, --atomicity is hca or global\n";
    return 2;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

#include "transport/conformance/provider_under_test.h"

namespace acre::transport {

std::vector<std::unique_ptr<ProviderUnderTest>>& ProvidersUnderTest() {
  static auto& providers = *new std::vector<std::unique_ptr<ProviderUnderTest>>();
  return providers;
}

}  // namespace acre::transport

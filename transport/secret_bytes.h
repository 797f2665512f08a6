// Tokens and proofs are compared in a time that does not tell where they differ, so that nobody can find one
// byte by byte.

#ifndef ACRE_TRANSPORT_SECRET_BYTES_H_
#define ACRE_TRANSPORT_SECRET_BYTES_H_

#include <openssl/crypto.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace acre::transport {

template <size_t kBytes>
[[nodiscard]] bool AreEqualSecrets(const std::array<uint8_t, kBytes>& a,
                                   const std::array<uint8_t, kBytes>& b) {
  return CRYPTO_memcmp(a.data(), b.data(), kBytes) == 0;
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SECRET_BYTES_H_

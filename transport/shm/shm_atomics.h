// Atomics as a card does them (Atomicity::kHca): atomic against each other, not against CPUs.
//
// A card loads the word over PCIe, computes, and stores it; meanwhile a CPU may do what it likes
// with it. Here it is two separate instructions, while the region's provider word keeps other
// fabric atomics out. For tests: the default of the shm provider is a CPU's own locked instructions
// (kGlobal).

#ifndef ACRE_TRANSPORT_SHM_SHM_ATOMICS_H_
#define ACRE_TRANSPORT_SHM_SHM_ATOMICS_H_

#include <cstdint>

#include "runtime/shared_word.h"

namespace acre::transport {

// `lock` is RegionHeader::provider_word of the word's region. False: somebody who lives held it for
// too long, nothing was done. A holder that died is noticed and passed over.
[[nodiscard]] bool HcaCompareSwap(SharedWord* lock, SharedWord* word, uint64_t compare,
                                  uint64_t swap, uint64_t* old_value);
[[nodiscard]] bool HcaFetchAdd(SharedWord* lock, SharedWord* word, uint64_t addend,
                               uint64_t* old_value);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_ATOMICS_H_

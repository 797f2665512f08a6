// SimMemory: the bytes of a region, as the simulated network knows them.

#ifndef ACRE_TRANSPORT_SIM_SIM_MEMORY_H_
#define ACRE_TRANSPORT_SIM_SIM_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "runtime/shared_word.h"
#include "transport/fabric.h"
#include "transport/sim/sim_context.h"

namespace acre::transport {

// Belongs to the network, and outlives its owner's process: peers that mapped it go on reading it, as
// they do after a process was killed. The record stays for the network's life, the bytes as long as
// somebody could know their address.
//
// A card touches the bytes with plain loads and stores, at the time of one of its events: no simulated
// thread runs then, and none of their store buffers is asked.
class SimMemory {
 public:
  SimMemory(const RegionOptions& options, const SimContext& context);
  ~SimMemory() { Free(); }
  SimMemory(const SimMemory&) = delete;
  SimMemory& operator=(const SimMemory&) = delete;

  SharedWord* words() const { return words_; }
  size_t size_bytes() const { return size_bytes_; }
  uint32_t region_id() const { return region_id_; }
  uint64_t generation() const { return generation_; }
  uint32_t peer_rights() const { return peer_rights_; }
  sim::Process* owner() const { return owner_; }
  Atomicity atomicity() const { return atomicity_; }

  // Whether cards serve it. Not once its owner has closed it, or the system has cleared away after the
  // owner's death.
  bool is_open() const { return is_open_; }
  void Close() { is_open_ = false; }
  // RegionOptions::death_mark, where the fabric has that: readers are told of the owner's death by its mark,
  // and there is no lease.
  bool is_marked_at_death() const { return is_marked_at_death_; }
  // The owner dies now: what the kernel does. No effect on a region without a mark.
  void MarkDeath();

  // Somebody has it mapped.
  void AddMapping() { ++mappings_; }
  void RemoveMapping() { --mappings_; }
  // The owner's handle has gone.
  void Release() { is_released_ = true; }
  bool is_needed() const { return !is_released_ || mappings_ > 0; }
  void Free();

  uint64_t LoadByCard(uint64_t word_index) const { return Raw()[word_index]; }
  void StoreByCard(uint64_t word_index, uint64_t value) { Raw()[word_index] = value; }

  // Till when a card holds the memory for an atomic: others of its cards' atomics wait (A1).
  uint64_t atomics_from_ns() const { return atomics_from_ns_; }
  void HoldAtomicsUntil(uint64_t ns) { atomics_from_ns_ = ns; }

 private:
  uint64_t* Raw() const { return reinterpret_cast<uint64_t*>(words_); }

  SharedWord* words_ = nullptr;
  const size_t size_bytes_;
  const uint32_t region_id_;
  const uint32_t peer_rights_;
  const uint64_t generation_;
  const Atomicity atomicity_;
  sim::Process* const owner_;
  bool is_open_ = true;
  bool is_marked_at_death_ = false;
  bool is_released_ = false;
  uint32_t mappings_ = 0;
  uint64_t atomics_from_ns_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_MEMORY_H_

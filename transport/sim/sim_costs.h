// What things cost in the simulated network, in nanoseconds of virtual time.
//
// The figures are those of a rack with 100 Gb/s cards: a small READ takes about 2 us there and back, an
// atomic occupies its card for 370 ns (2.7 million a second). They matter little: what is explored is
// every order that differs from them by some factor, so each delay is drawn between once and twice its
// figure.

#ifndef ACRE_TRANSPORT_SIM_SIM_COSTS_H_
#define ACRE_TRANSPORT_SIM_SIM_COSTS_H_

#include <cstdint>

namespace acre::transport {

// The thread's own CPU.
constexpr uint64_t kPostNs = 60;         // One doorbell,
constexpr uint64_t kPostRequestNs = 15;  // and each request of the batch.
constexpr uint64_t kPollNs = 15;
constexpr uint64_t kSetupNs = 2'000;  // Regions, grants, connections: system calls.

// The cards. Each request occupies the sender's and the target's.
constexpr uint64_t kCardRequestNs = 40;
constexpr uint64_t kCardAtomicNs = 370;
constexpr uint64_t kCardBytesPerNs = 12;

// One way, wire and both cards' pipelines.
constexpr uint64_t kWireNs = 650;
constexpr uint64_t kLoopbackNs = 300;
// A packet of the kernel's between two processes of one machine.
constexpr uint64_t kPacketNs = 1'500;

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_COSTS_H_

// The wall clock of the machine, which people and NTP set: for what must rise across restarts and for people, never
// for timeouts (runtime/clock.h).

#ifndef ACRE_RUNTIME_WALL_CLOCK_H_
#define ACRE_RUNTIME_WALL_CLOCK_H_

#include <time.h>

#include <cstdint>

namespace acre {

// Nanoseconds since 1970. Any thread.
inline uint64_t WallClockNs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace acre

#endif  // ACRE_RUNTIME_WALL_CLOCK_H_

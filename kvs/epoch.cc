#include "kvs/epoch.h"

#include <algorithm>

namespace acre::kvs {

EpochClock::EpochClock() {
  now_.Store(1, std::memory_order_relaxed);
  safe_before_.Store(0, std::memory_order_relaxed);
}

void EpochClock::Add(const SharedWord* announced, uint64_t now_ns) {
  MutexLock lock(&mutex_);
  clients_.push_back({announced, 0, now_ns});
}

void EpochClock::Remove(const SharedWord* announced) {
  MutexLock lock(&mutex_);
  std::erase_if(clients_, [announced](const Client& c) { return c.announced == announced; });
}

void EpochClock::Tick(uint64_t now_ns, uint64_t lease_ns, SharedWord* const* headers,
                      size_t headers_count) {
  MutexLock lock(&mutex_);
  const uint64_t now = now_.Load(std::memory_order_relaxed) + 1;
  uint64_t safe_before = now - 1;
  for (Client& client : clients_) {
    // The client stores what it saw in a header; anything else is its own loss, the checksum
    // protects it.
    const uint64_t value = client.announced->Load(std::memory_order_acquire);
    if (value != client.last_value) {
      client.last_value = value;
      client.changed_ns = now_ns;
    }
    // A sum: a client may have been added by a thread whose time is a little ahead of this one's.
    if (now_ns < client.changed_ns + lease_ns) safe_before = std::min(safe_before, value);
  }
  // Heaps read both; an old value only makes them wait longer.
  safe_before_.Store(std::max(safe_before, safe_before_.Load(std::memory_order_relaxed)),
                     std::memory_order_release);
  now_.Store(now, std::memory_order_release);
  for (size_t i = 0; i < headers_count; ++i) headers[i]->Store(now, std::memory_order_release);
}

}  // namespace acre::kvs

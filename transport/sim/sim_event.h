// An event of the simulated network: a method that runs at a point of virtual time.

#ifndef ACRE_TRANSPORT_SIM_SIM_EVENT_H_
#define ACRE_TRANSPORT_SIM_SIM_EVENT_H_

#include "runtime/sim/event_heap.h"

namespace acre::transport {

// A member of the object whose method it runs.
template <class T, void (T::*kMethod)()>
class SimEvent final : public sim::Event {
 public:
  explicit SimEvent(T* object) : object_(object) {}

 private:
  void Run() override { (object_->*kMethod)(); }

  T* const object_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_EVENT_H_

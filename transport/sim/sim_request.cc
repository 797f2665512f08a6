#include "transport/sim/sim_request.h"

#include "transport/sim/sim_side.h"

namespace acre::transport {

void SimRequest::Execute() { side->Execute(this); }

void SimRequest::Respond() { side->OnAnswer(this); }

}  // namespace acre::transport

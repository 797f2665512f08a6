// lock_kill_child: a process that the home of //lock:kill_test starts, and kills.

#include "gflags/gflags.h"
#include "glog/logging.h"
#include "lock/kill/child.h"

int main(int /*argc*/, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  acre::lock_kill::RunChild();
  return 0;
}

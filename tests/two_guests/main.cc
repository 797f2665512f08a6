// two_guests_client: the client's side of two_guests_test, which runs it in a virtual machine.

#include <iostream>

#include "absl/status/status.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/command_line.h"
#include "tests/two_guests/scenario.h"

DEFINE_string(server, "", "HOST:PORT of the server, on the other machine.");
DEFINE_string(secret_file, "", "As kv_cli has it.");
DEFINE_string(death_mark, "", "The file that is made just before the server's machine is killed.");
DEFINE_uint32(switch_port, 0,
              "The port on the server's machine that takes its link away when it is connected to.");

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  const auto command_line = acre::ParseCommandLine(argc, argv);
  if (!command_line.ok()) {
    std::cerr << "two_guests_client: " << command_line.status().message() << "\n";
    return 2;
  }
  acre::tests::Scenario::Options options;
  options.server = FLAGS_server;
  options.secret_file = FLAGS_secret_file;
  options.death_mark = FLAGS_death_mark;
  options.switch_port = static_cast<uint16_t>(FLAGS_switch_port);
  const absl::Status status = acre::tests::Scenario(options).Run();
  if (status.ok()) return 0;
  std::cerr << "two_guests_client: " << status << "\n";
  return 1;
}

// cuda_resources [--kernels REGEX] [--markdown]: the resources of every CUDA kernel of this build,
// from what ptxas says of them and from how the op table launches them. Exit 1 where a kernel has
// a fault (resources.h).
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "kernels/error.h"
#include "lab/cuda_resources/resources.h"

using namespace imago;
using namespace imago::cuda_resources;

namespace {

/// The logs of this build.
PtxasLog read_logs() {
  PtxasLog all;
  std::istringstream files(IMAGO_PTXAS_LOGS);
  for (std::string file; std::getline(files, file, ':');) {
    std::ifstream in(file);
    check(in.good(), file, " is missing: build the target imago_cuda");
    const PtxasLog log = parse_ptxas_log({std::istreambuf_iterator<char>(in), {}}, file);
    all.kernels.insert(all.kernels.end(), log.kernels.begin(), log.kernels.end());
    all.performance_losses.insert(all.performance_losses.end(), log.performance_losses.begin(),
                                  log.performance_losses.end());
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "The resources of the CUDA kernels: registers a thread, KiB of shared memory a block, blocks on a "
      "multiprocessor, and how many of the warps that it can hold these are.");
  std::string only;
  bool markdown = false;
  app.add_option("--kernels", only, "print only those whose name this regular expression matches");
  app.add_flag("--markdown", markdown, "print a table for a page of documentation");
  CLI11_PARSE(app, argc, argv);
  try {
    const PtxasLog log = read_logs();
    const Launches launches = launches_of_op_table();
    print_table(std::cout, log, launches, only, markdown);
    const std::vector<std::string> faults = faults_of(log, launches);
    for (const std::string& fault : faults) std::cout << "fault: " << fault << "\n";
    return faults.empty() ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << "cuda_resources: " << e.what() << "\n";
    return 1;
  }
}

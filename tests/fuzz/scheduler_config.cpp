// scheduler/scheduler_config.json, and the noise schedule that it names. What is read and written again says
// the same.
#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "models/diffusion/scheduler_config.h"
#include "tests/fuzz/fuzz.h"

using namespace imago;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::expect_read_or_refused([&] {
    std::vector<std::string> warnings;
    const SchedulerConfig config =
        parse_scheduler_config(parse_json(fuzz::text(data, size), "config.json"), "config.json", warnings);
    const nlohmann::json written = parse_json(format_json(to_json(config)), "written");
    if (to_json(parse_scheduler_config(written, "written", warnings)) != written) std::abort();
  });
  return 0;
}

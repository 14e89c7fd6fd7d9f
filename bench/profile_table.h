// What a ProfilingBackend has noted, for people and for programs.
#pragma once

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/profiling_backend.h"

namespace imago {

using ProfileRow = std::pair<std::string, ProfilingBackend::Entry>;

inline void print_profile_rows(std::vector<ProfileRow> rows, size_t most, double step_seconds, int steps) {
  std::sort(rows.begin(), rows.end(), [](const ProfileRow& a, const ProfileRow& b) {
    return a.second.cpu_seconds > b.second.cpu_seconds;
  });
  std::printf("%9s %6s %9s %7s %9s %10s %8s  %s\n", "ms/step", "share", "CPU ms", "calls", "GFLOP/s",
              "per CPU s", "GB/s", "operation");
  for (size_t i = 0; i < std::min(most, rows.size()); ++i) {
    const auto& [name, e] = rows[i];
    const double gflops = 1e-9 * static_cast<double>(e.flops), gbytes = 1e-9 * static_cast<double>(e.bytes);
    std::printf("%9.2f %5.1f%% %9.2f %7.1f %9.1f %10.1f %8.1f  %s\n", 1e3 * e.seconds / steps,
                100 * e.seconds / steps / step_seconds, 1e3 * e.cpu_seconds / steps,
                static_cast<double>(e.calls) / steps, gflops / e.seconds, gflops / e.cpu_seconds,
                gbytes / e.seconds, name.c_str());
  }
}

/// By operation, then the most expensive shapes. What the operations do not account for is the engine itself.
inline void print_profile(const ProfilingBackend& profile, double step_seconds, int steps) {
  std::map<std::string, ProfilingBackend::Entry> families, shapes;
  double seconds = 0;
  for (const auto& [key, entry] : profile.entries()) {
    families[key.operation] += entry;
    shapes[key.operation + " " + key.shapes] += entry;
    seconds += entry.seconds;
  }
  std::printf("\n%.1f ms a step, %.1f ms of them in operations\n\n", 1e3 * step_seconds,
              1e3 * seconds / steps);
  print_profile_rows({families.begin(), families.end()}, families.size(), step_seconds, steps);
  std::printf("\n");
  print_profile_rows({shapes.begin(), shapes.end()}, 40, step_seconds, steps);
}

/// One object a layer, operation and shape, per step.
inline nlohmann::ordered_json profile_json(const ProfilingBackend& profile, int steps) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const auto& [key, e] : profile.entries()) {
    rows.push_back({{"layer", key.layer},
                    {"operation", key.operation},
                    {"shapes", key.shapes},
                    {"calls", static_cast<double>(e.calls) / steps},
                    {"seconds", e.seconds / steps},
                    {"flops", static_cast<double>(e.flops) / steps},
                    {"bytes", static_cast<double>(e.bytes) / steps}});
  }
  return rows;
}

}  // namespace imago

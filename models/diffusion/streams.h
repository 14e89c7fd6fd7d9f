// The random streams of diffusion, beside the engine's own.
#pragma once

#include <algorithm>
#include <array>

#include "engine/random/streams.h"

namespace imago {

enum class DiffusionPurpose : uint8_t {
  kTimesteps = 4,    // the id is the global sample number
  kNoise = 5,        // the noise of training; the id is the global sample number
  kSampleStart = 7,  // x_T of a sampled image; the id is the image's number
  kSampleNoise = 8,  // the noise of a sampler; the index is the step, the id the image's number
  kKnownNoise = 9,   // the noise on an image that is given; the index is the step, the id the image's number
  kResample = 10,    // back up in noise; the index is the step, the id the image's number
  kClassDropout = 11,  // whether a sample is trained without its class; the id is the global sample number
  kBoundTimes = 12,    // where the bound is looked at; the index is the stratum, the id the image's number
  kBoundNoise = 13,    // the noise of the bound; the index is the stratum, the id the image's number
  kSubsets = 14,       // of the kernel distance; the index is the subset, the id the draw
};

/// Every purpose there is, by its number.
inline constexpr std::array kAllPurposes = [] {
  using enum Purpose;
  using enum DiffusionPurpose;
  const auto number = [](auto purpose) { return static_cast<uint8_t>(purpose); };
  return std::array{number(kInit),       number(kShuffle),  number(kAugment),      number(kDropout),
                    number(kTimesteps),  number(kNoise),    number(kSampleStart),  number(kSampleNoise),
                    number(kKnownNoise), number(kResample), number(kClassDropout), number(kBoundTimes),
                    number(kBoundNoise), number(kSubsets)};
}();
static_assert(
    [] {
      auto sorted = kAllPurposes;
      std::sort(sorted.begin(), sorted.end());
      return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
    }(),
    "two purposes share their random numbers");

}  // namespace imago

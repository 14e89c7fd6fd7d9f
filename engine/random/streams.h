// Who uses which random numbers. A stream is 8 bits of purpose and 24 bits of index; with the seed and an id
// it names a sequence of its own (kernels/philox.h), so no two uses ever share numbers and no generator has a
// state to save.
#pragma once

#include <cstdint>

namespace imago {

enum class Purpose : uint8_t {
  kInit = 1,         // parameters; the id is a hash of the name
  kShuffle = 2,      // the order of the images; the index is the epoch
  kAugment = 3,      // crops and flips; the id is the image, the index the epoch
  kTimesteps = 4,    // the id is the global sample number
  kNoise = 5,        // the noise of training; the id is the global sample number
  kDropout = 6,      // the index is the layer, the id the global sample number
  kSampleStart = 7,  // x_T of a sampled image; the id is the image's number
  kSampleNoise = 8,  // the noise of a sampler; the index is the step, the id the image's number
};

constexpr uint32_t stream(Purpose purpose, uint32_t index = 0) {
  return static_cast<uint32_t>(purpose) << 24 | (index & 0xffffffu);
}

}  // namespace imago

// Who uses which random numbers. A random stream is 8 bits of purpose and 24 bits of index; with the seed and
// an id it names a sequence of its own (kernels/philox.h), so no two uses ever share numbers and no generator
// has a state to save.
#pragma once

#include <cstdint>
#include <type_traits>

namespace imago {

/// The engine's own purposes. A model has an enum of its own, with numbers that are free here.
enum class Purpose : uint8_t {
  kInit = 1,     // parameters; the id is a hash of the name
  kShuffle = 2,  // the order of the images; the index is the epoch
  kAugment = 3,  // crops and flips; the id is the image, the index the epoch
  kDropout = 6,  // the index is the layer, the id the global sample number
};

/// The random stream of a purpose, the engine's or a model's.
template <class P>
requires std::is_same_v<std::underlying_type_t<P>, uint8_t>
constexpr uint32_t random_stream(P purpose, uint32_t index = 0) {
  return static_cast<uint32_t>(purpose) << 24 | (index & 0xffffffu);
}

}  // namespace imago

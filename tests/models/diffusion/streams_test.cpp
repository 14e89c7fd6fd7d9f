// Random streams are part of what a seed means: a run that goes on after an upgrade draws the same numbers.
#include "models/diffusion/streams.h"

#include <gtest/gtest.h>

namespace imago {
namespace {

TEST(RandomStreams, KeepTheirNumbers) {
  EXPECT_EQ(random_stream(Purpose::kInit), 0x01000000u);
  EXPECT_EQ(random_stream(Purpose::kShuffle, 3), 0x02000003u);
  EXPECT_EQ(random_stream(Purpose::kAugment, 3), 0x03000003u);
  EXPECT_EQ(random_stream(DiffusionPurpose::kTimesteps), 0x04000000u);
  EXPECT_EQ(random_stream(DiffusionPurpose::kNoise), 0x05000000u);
  EXPECT_EQ(random_stream(Purpose::kDropout, 7), 0x06000007u);
  EXPECT_EQ(random_stream(DiffusionPurpose::kSampleStart), 0x07000000u);
  EXPECT_EQ(random_stream(DiffusionPurpose::kSampleNoise, 999), 0x080003e7u);
  EXPECT_EQ(random_stream(DiffusionPurpose::kClassDropout), 0x0b000000u);
}

TEST(RandomStreams, AnIndexThatIsTooLargeStaysWithinItsPurpose) {
  EXPECT_EQ(random_stream(DiffusionPurpose::kNoise, 0x1000001), random_stream(DiffusionPurpose::kNoise, 1));
}

}  // namespace
}  // namespace imago

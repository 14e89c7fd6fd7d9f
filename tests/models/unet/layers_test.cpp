// The U-Net's own layers: gradients by finite differences, alone and computed again.
#include <gtest/gtest.h>

#include "engine/nn/conv2d.h"
#include "engine/nn/linear.h"
#include "models/unet/resample.h"
#include "models/unet/self_attention.h"
#include "tests/support/module_checks.h"

namespace imago {
namespace {

/// A module with one of everything, in float64.
struct Everything : Module {
  Conv2d conv{3, 4, 3};
  SelfAttention attention{{.channels = 4, .head_dim = 2, .groups = 2, .scale = 0.5f}};
  SelfAttention cut{{.channels = 4, .head_dim = 3, .groups = 0}};  // inner = 3, not 4
  Downsample down{4, 0};
  Upsample up{4};
  Linear linear{4, 2};
  Everything() {
    add("conv", conv);
    add("attention", attention);
    add("cut", cut);
    add("down", down);
    add("up", up);
    add("linear", linear);
    name_paths();
  }
  Tensor forward(const Tensor& x) {  // [N,H,W,3] -> [N,H,W,2]
    return linear.forward(up.forward(down.forward(cut.forward(attention.forward(conv.forward(x))))));
  }
};

TEST(UNetLayers, GradientsOfEveryLayerInOneModule) {
  check_module_gradients<Everything>();
}

TEST(UNetLayers, RecomputingChangesNoBit) {
  check_recomputing<Everything>();
}

TEST(UNetLayers, PathsNameTheLayerAnOperationRunsIn) {
  check_observed_paths<Everything>("conv:conv2d", "attention.to_out.0:conv2d");
}

}  // namespace
}  // namespace imago

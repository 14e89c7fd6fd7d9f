#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

const std::vector<OpRow>& op_table() {
  static const std::vector<OpRow> table = [] {
    std::vector<OpRow> all;
    for (const auto& family :
         {memory_rows(), convolution_rows(), attention_rows(), norm_rows(), pointwise_rows(), pooling_rows(),
          loss_rows(), diffusion_rows(), optimizer_rows()}) {
      all.insert(all.end(), family.begin(), family.end());
    }
    return all;
  }();
  return table;
}

}  // namespace imago::test

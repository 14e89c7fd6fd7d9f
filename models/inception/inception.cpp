#include "models/inception/inception.h"

#include <algorithm>

#include "engine/autograd/tape.h"
#include "engine/ops/pooling.h"

namespace imago {

namespace {

constexpr int64_t kSmallest = 75;  // below, a layer would have no pixel to write

Branches pooled(Tensor (*pool)(const Tensor&, const PoolWindow&), const Branches& x,
                const PoolWindow& window) {
  Branches y;
  for (const Tensor& branch : x) y.push_back(pool(branch, window));
  return y;
}

constexpr PoolWindow kSame{3, 3, {1, 1, 1, 1, 1}}, kHalf{3, 3, {2, 0, 0, 0, 0}};

}  // namespace

InceptionV3::InceptionV3(const std::filesystem::path& weights, Device device, int narrow)
    : device_(device), narrow_(narrow) {
  const SafetensorsFile file(weights);
  file_ = &file;
  const NoGrad no_grad;
  run(zeros({1, kSmallest, kSmallest, 3}, DType::kFloat32, device));  // makes every layer
  file_ = nullptr;
  check_all_used(file);
}

/// The head, which gives classes, and the batches that training has seen are not needed here; anything else
/// that is left over belongs to another network.
void InceptionV3::check_all_used(const SafetensorsFile& file) const {
  const auto refuse = [&](const std::string& tensor, const char* what) {
    bad_input(file.path().string(), ": tensor ", tensor, what,
              ": expected Inception-v3 as pytorch-fid names it");
  };
  for (const SafetensorsFile::Entry& e : file.entries()) {
    if (e.name == "fc.weight" && e.shape.at(0) != 1008) refuse(e.name, " is not that of 1008 classes");
    const size_t layer = std::min(e.name.rfind(".conv."), e.name.rfind(".bn."));
    if (!e.name.starts_with("fc.") &&
        (layer == std::string::npos || !layers_.contains(e.name.substr(0, layer))))
      refuse(e.name, " is unexpected");
  }
}

Tensor InceptionV3::conv(const std::string& name, const Branches& x, int64_t width,
                         const FilterShape& f) const {
  auto at = layers_.find(name);
  if (at == layers_.end()) {
    const int top = f.padded ? f.rows / 2 : 0, left = f.padded ? f.columns / 2 : 0;
    std::vector<int64_t> widths;
    int64_t channels = 0;
    for (const Tensor& branch : x) {
      widths.push_back(branch.dim(3));
      channels += branch.dim(3);
    }
    const Shape shape{width / narrow_, channels, f.rows, f.columns};
    at = layers_
             .emplace(name,
                      BatchNormConv(*file_, name, shape, widths, {f.stride, top, left, top, left}, device_))
             .first;
  }
  return at->second.forward(x);
}

Branches InceptionV3::block_a(const std::string& n, const Branches& x, int64_t pool_width) const {
  const Tensor narrow5 = conv(n + ".branch5x5_1", x, 48), narrow3 = conv(n + ".branch3x3dbl_1", x, 64);
  const Tensor first3 = conv(n + ".branch3x3dbl_2", {narrow3}, 96, {3, 3});
  return {conv(n + ".branch1x1", x, 64), conv(n + ".branch5x5_2", {narrow5}, 64, {5, 5}),
          conv(n + ".branch3x3dbl_3", {first3}, 96, {3, 3}),
          conv(n + ".branch_pool", pooled(avg_pool, x, kSame), pool_width)};
}

Branches InceptionV3::block_b(const std::string& n, const Branches& x) const {
  const FilterShape half{3, 3, 2, false};
  const Tensor narrow = conv(n + ".branch3x3dbl_1", x, 64);
  const Tensor first = conv(n + ".branch3x3dbl_2", {narrow}, 96, {3, 3});
  Branches y{conv(n + ".branch3x3", x, 384, half), conv(n + ".branch3x3dbl_3", {first}, 96, half)};
  for (const Tensor& branch : pooled(max_pool, x, kHalf)) y.push_back(branch);
  return y;
}

Branches InceptionV3::block_c(const std::string& n, const Branches& x, int64_t width) const {
  const FilterShape row{1, 7}, column{7, 1};
  Tensor once = conv(n + ".branch7x7_1", x, width);
  once = conv(n + ".branch7x7_2", {once}, width, row);
  Tensor twice = conv(n + ".branch7x7dbl_1", x, width);
  twice = conv(n + ".branch7x7dbl_2", {twice}, width, column);
  twice = conv(n + ".branch7x7dbl_3", {twice}, width, row);
  twice = conv(n + ".branch7x7dbl_4", {twice}, width, column);
  return {conv(n + ".branch1x1", x, 192), conv(n + ".branch7x7_3", {once}, 192, column),
          conv(n + ".branch7x7dbl_5", {twice}, 192, row),
          conv(n + ".branch_pool", pooled(avg_pool, x, kSame), 192)};
}

Branches InceptionV3::block_d(const std::string& n, const Branches& x) const {
  const FilterShape half{3, 3, 2, false};
  const Tensor narrow = conv(n + ".branch3x3_1", x, 192);
  Tensor seven = conv(n + ".branch7x7x3_1", x, 192);
  seven = conv(n + ".branch7x7x3_2", {seven}, 192, {1, 7});
  seven = conv(n + ".branch7x7x3_3", {seven}, 192, {7, 1});
  Branches y{conv(n + ".branch3x3_2", {narrow}, 320, half), conv(n + ".branch7x7x3_4", {seven}, 192, half)};
  for (const Tensor& branch : pooled(max_pool, x, kHalf)) y.push_back(branch);
  return y;
}

Branches InceptionV3::block_e(const std::string& n, const Branches& x, Pool pool) const {
  const FilterShape row{1, 3}, column{3, 1};
  const Branches once{conv(n + ".branch3x3_1", x, 384)};
  const Tensor narrow = conv(n + ".branch3x3dbl_1", x, 448);
  const Branches twice{conv(n + ".branch3x3dbl_2", {narrow}, 384, {3, 3})};
  const Branches around = pooled(pool == Pool::kAverage ? avg_pool : max_pool, x, kSame);
  return {conv(n + ".branch1x1", x, 320),
          conv(n + ".branch3x3_2a", once, 384, row),
          conv(n + ".branch3x3_2b", once, 384, column),
          conv(n + ".branch3x3dbl_3a", twice, 384, row),
          conv(n + ".branch3x3dbl_3b", twice, 384, column),
          conv(n + ".branch_pool", around, 192)};
}

Branches InceptionV3::run(const Tensor& images) const {
  Tensor h = conv("Conv2d_1a_3x3", {images}, 32, {3, 3, 2, false});  // [N,149,149,32] of 299 x 299
  h = conv("Conv2d_2a_3x3", {h}, 32, {3, 3, 1, false});              // [N,147,147,32]
  h = conv("Conv2d_2b_3x3", {h}, 64, {3, 3});                        // [N,147,147,64]
  h = max_pool(h, kHalf);                                            // [N,73,73,64]
  h = conv("Conv2d_3b_1x1", {h}, 80);                                // [N,73,73,80]
  h = conv("Conv2d_4a_3x3", {h}, 192, {3, 3, 1, false});             // [N,71,71,192]
  h = max_pool(h, kHalf);                                            // [N,35,35,192]
  Branches x = block_a("Mixed_5b", {h}, 32);                         // [N,35,35,256] in all
  x = block_a("Mixed_5c", x, 64);                                    // [N,35,35,288]
  x = block_a("Mixed_5d", x, 64);                                    // [N,35,35,288]
  x = block_b("Mixed_6a", x);                                        // [N,17,17,768]
  x = block_c("Mixed_6b", x, 128);                                   // [N,17,17,768]
  x = block_c("Mixed_6c", x, 160);                                   // [N,17,17,768]
  x = block_c("Mixed_6d", x, 160);                                   // [N,17,17,768]
  x = block_c("Mixed_6e", x, 192);                                   // [N,17,17,768]
  x = block_d("Mixed_7a", x);                                        // [N,8,8,1280]
  x = block_e("Mixed_7b", x, Pool::kAverage);                        // [N,8,8,2048]
  return block_e("Mixed_7c", x, Pool::kMaximum);                     // [N,8,8,2048]
}

Tensor InceptionV3::features(const Tensor& images) const {
  check(
      images.shape().rank() == 4 && images.dim(3) == 3 && std::min(images.dim(1), images.dim(2)) >= kSmallest,
      "Inception-v3: expected images [N,H,W,3] of 75 x 75 pixels or more, not ", images.shape());
  const NoGrad no_grad;
  const int64_t n = images.dim(0);
  std::vector<float> features(static_cast<size_t>(n * dimension()));  // [N,D]
  int64_t column = 0;
  for (const Tensor& branch : run(images)) {
    const auto means = to_vector<float>(global_avg_pool(branch));  // [N,C]
    const int64_t width = branch.dim(3);
    for (int64_t i = 0; i < n; ++i)
      std::copy_n(&means[static_cast<size_t>(i * width)], width,
                  &features[static_cast<size_t>(i * dimension() + column)]);
    column += width;
  }
  return from_vector(features, {n, dimension()}, images.device());
}

}  // namespace imago

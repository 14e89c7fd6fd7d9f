// What bench_cuda_libraries times: the characteristic operations of google/ddpm-cifar10-32's training step.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "bench/cuda/opponent.h"

namespace imago {

/// Over n images of h x w pixels and c channels, 32 groups, SiLU behind.
struct GroupNormCase {
  int64_t n, h, w, c;
};

/// Over n images of t tokens.
struct AttentionCase {
  int64_t n, t, heads, head_dim;
};

/// The most important first: a run that is cut short has them. `batch` scales all but the square products.
inline std::vector<ConvCase> convolution_cases(int64_t batch) {
  return {
      {batch, 32, 32, 128, 128},         {batch, 16, 16, 256, 256},        {batch, 32, 32, 256, 128},
      {batch, 8, 8, 256, 256},           {batch, 4, 4, 256, 256},          {batch, 16, 16, 512, 256},
      {batch, 32, 32, 256, 128, 1},      {batch, 16, 16, 256, 256, 1},     {batch, 32, 32, 128, 128, 3, 2},
      {1, 1, 32 * batch, 4096, 4096, 1}, {1, 1, 256 * batch, 256, 256, 1}, {1, 1, batch, 512, 512, 1},
      {batch, 32, 32, 3, 128},
  };
}

inline std::vector<GroupNormCase> group_norm_cases(int64_t batch) {
  return {{batch, 32, 32, 128},
          {batch, 32, 32, 256},
          {batch, 16, 16, 256},
          {batch, 8, 8, 256},
          {batch, 4, 4, 256}};
}

inline std::vector<AttentionCase> attention_cases(int64_t batch) {
  return {{batch, 256, 1, 256}, {batch, 256, 8, 32}, {batch, 64, 16, 8}, {batch, 1024, 2, 64}};
}

inline nlohmann::ordered_json to_json(ConvPass pass, const ConvCase& c) {
  return {{"op", operation_of(pass)},
          {"n", c.n},
          {"h", c.h},
          {"w", c.w},
          {"c", c.c},
          {"k", c.k},
          {"filter", c.filter},
          {"stride", c.stride},
          {"flops", c.flops()}};
}

inline nlohmann::ordered_json to_json(const char* op, const GroupNormCase& c) {
  return {{"op", op}, {"n", c.n}, {"h", c.h}, {"w", c.w}, {"c", c.c}, {"groups", 32}, {"flops", 0}};
}

/// Two products of [T,D] matrices forward, five backward.
inline nlohmann::ordered_json to_json(const char* op, const AttentionCase& c, int products) {
  const double product = 2.0 * static_cast<double>(c.n * c.heads * c.t * c.t * c.head_dim);
  return {{"op", op},
          {"n", c.n},
          {"t", c.t},
          {"heads", c.heads},
          {"head_dim", c.head_dim},
          {"flops", products * product}};
}

}  // namespace imago

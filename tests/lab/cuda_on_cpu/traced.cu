// A tile transposed in shared memory, with and without padding, and a strided read: known bank conflicts and
// sectors. trace_test.cpp checks the report by the comments at the ends of lines.
#include <vector>

#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

template <int kPitch>
__device__ void transpose(float (*tile)[kPitch], const float* x, float* y) {
  const unsigned row = threadIdx.x / 32, column = threadIdx.x % 32;
  for (unsigned r = row; r < 32; r += 4) tile[r][column] = x[32 * r + column];  // both ideal
  __syncthreads();
  for (unsigned r = row; r < 32; r += 4) y[32 * r + column] = tile[column][r];  // pitch 32: 32 ways
}

__global__ void conflicting(const float* x, float* y) {
  IMAGO_SHARED(float, tile, [32][32]);
  transpose(tile, x, y);
}

__global__ void strided(const float* x, float* y) {
  y[threadIdx.x] =  // one sector a lane, 4 bytes used of 32
      x[8 * threadIdx.x];
}

__global__ void rows(const uint4* x, uint32_t* y) {
  IMAGO_SHARED(uint4, tile, [32][8]);  // rows of 128 bytes
  for (unsigned i = threadIdx.x; i < 256; i += 32) ptx::cp_async(&tile[i / 8][i % 8], x + i);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncwarp();
  uint32_t r[4];
  ptx::ldmatrix_x4(r, &tile[threadIdx.x][0]);                    // a column of chunks: 8 ways
  ptx::ldmatrix_x4(r, &tile[threadIdx.x / 8][threadIdx.x % 8]);  // a row of chunks: ideal
  y[threadIdx.x] = r[0];
}

}  // namespace
}  // namespace imago::IMAGO_CUDA_NAMESPACE

int main() {
  using namespace imago::IMAGO_CUDA_NAMESPACE;
  DeviceArray<float> x(std::vector<float>(1024, 1.0f)), y(1024);
  launch(conflicting, {.grid = 2, .block = 128}, x.get(), y.get());
  launch(strided, {.grid = 1, .block = 128}, x.get(), y.get());
  DeviceArray<uint4> rows_in(std::vector<uint4>(256, uint4{1, 2, 3, 4}));
  DeviceArray<uint32_t> rows_out(32);
  launch(rows, {.grid = 1, .block = 32}, rows_in.get(), rows_out.get());
  cudaDeviceSynchronize();
}

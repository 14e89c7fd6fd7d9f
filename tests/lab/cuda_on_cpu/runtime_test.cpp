// The runtime API over the emulator: order of streams, events and graphs, errors, limits, memory.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::cuda_on_cpu {
namespace {

#define OK(call) ASSERT_EQ(call, cudaSuccess)

__global__ void append(float* log,
                       float digit) {  // log[0] = 10 log[0] + digit: the order of launches, readable
  log[0] = 10 * log[0] + digit;
}

struct Streams {
  cudaStream_t a, b;
  cudaEvent_t event;
  Streams() {
    cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
    cudaEventCreate(&event);
  }
  ~Streams() {
    cudaStreamDestroy(a), cudaStreamDestroy(b);
    cudaEventDestroy(event);
  }
};

TEST(Memory, StartsAsNaNAndIsNaNAgainWhenFreed) {
  float* p = nullptr;
  OK(cudaMalloc(&p, 4096));
  std::vector<float> host(1024, 0.0f);
  OK(cudaMemcpy(host.data(), p, 4096, cudaMemcpyDeviceToHost));
  for (float v : host) ASSERT_TRUE(std::isnan(v));
  OK(cudaFree(p));
  EXPECT_EQ(cudaFree(p), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST(Memory, CopiesCheckTheirDirectionAndBounds) {
  DeviceArray<float> x(16);
  float host[16] = {};
  EXPECT_EQ(cudaMemcpy(x.get(), host, 64, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host, x.get(), 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host, x.get() + 8, 64, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(x.get() + 8, 0, 64), cudaErrorInvalidValue);
  OK(cudaMemcpy(host, x.get(), 64, cudaMemcpyDefault));
  cudaGetLastError();
}

TEST(Memory, RunsOutWhereTheDeviceWould) {
  size_t free = 0, total = 0;
  OK(cudaMemGetInfo(&free, &total));
  char* p = nullptr;
  EXPECT_EQ(cudaMalloc(&p, free + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(p, nullptr);
  cudaGetLastError();
}

TEST(Streams, RunNothingBeforeSomebodyWaits) {
  Streams s;
  DeviceArray<float> log(std::vector<float>{0});
  float* pinned = nullptr;
  OK(cudaMallocHost(&pinned, 4));
  *pinned = -1;
  launch(append, {.stream = s.a}, log.get(), 1.0f);
  OK(cudaMemcpyAsync(pinned, log.get(), 4, cudaMemcpyDeviceToHost, s.a));
  EXPECT_EQ(*pinned, -1);
  EXPECT_EQ(cudaStreamQuery(s.a), cudaErrorNotReady);
  EXPECT_EQ(cudaStreamQuery(s.a), cudaSuccess);
  EXPECT_EQ(*pinned, 1);
  OK(cudaFreeHost(pinned));
}

TEST(Streams, PageableSourcesMayBeReusedAtOnce) {
  Streams s;
  DeviceArray<float> x(1);
  float host = 7;
  OK(cudaMemcpyAsync(x.get(), &host, 4, cudaMemcpyHostToDevice, s.a));
  host = 8;
  OK(cudaStreamSynchronize(s.a));
  EXPECT_EQ(x.download()[0], 7);
}

TEST(Streams, EventsOrderThem) {
  Streams s;
  DeviceArray<float> log(std::vector<float>{0});
  launch(append, {.stream = s.a}, log.get(), 1.0f);
  OK(cudaEventRecord(s.event, s.a));
  launch(append, {.stream = s.a}, log.get(), 3.0f);  // after the event: b does not wait for this one
  OK(cudaStreamWaitEvent(s.b, s.event));
  launch(append, {.stream = s.b}, log.get(), 2.0f);
  OK(cudaStreamSynchronize(s.b));
  float so_far = 0;
  OK(cudaMemcpyAsync(&so_far, log.get(), 4, cudaMemcpyDeviceToHost, s.b));
  EXPECT_EQ(so_far, 12);
  OK(cudaDeviceSynchronize());
  EXPECT_EQ(log.download()[0], 123);
}

TEST(Streams, TheDefaultStreamWaitsForBlockingOnes) {
  cudaStream_t blocking;
  OK(cudaStreamCreate(&blocking));
  DeviceArray<float> log(std::vector<float>{0});
  launch(append, {.stream = blocking}, log.get(), 1.0f);
  launch(append, {}, log.get(), 2.0f);
  launch(append, {.stream = blocking}, log.get(), 3.0f);
  OK(cudaStreamSynchronize(blocking));
  EXPECT_EQ(log.download()[0], 123);
  OK(cudaStreamDestroy(blocking));
}

TEST(Streams, FreedInOrder) {
  Streams s;
  float* p = nullptr;
  OK(cudaMallocAsync(&p, 4, s.a));
  OK(cudaMemsetAsync(p, 0, 4, s.a));
  launch(append, {.stream = s.a}, p, 5.0f);
  float host = 0;
  OK(cudaMemcpyAsync(&host, p, 4, cudaMemcpyDeviceToHost, s.a));
  OK(cudaFreeAsync(p, s.a));
  OK(cudaStreamSynchronize(s.a));
  EXPECT_EQ(host, 5);
}

TEST(Graphs, ReplayWhatWasCapturedAndNothingRunsMeanwhile) {
  Streams s;
  DeviceArray<float> log(std::vector<float>{0});
  cudaGraph_t graph;
  OK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeGlobal));
  launch(append, {.stream = s.a}, log.get(), 1.0f);
  OK(cudaEventRecord(s.event, s.a));
  OK(cudaStreamWaitEvent(s.b, s.event));  // b joins the capture
  launch(append, {.stream = s.b}, log.get(), 2.0f);
  OK(cudaEventRecord(s.event, s.b));
  OK(cudaStreamWaitEvent(s.a, s.event));
  launch(append, {.stream = s.a}, log.get(), 3.0f);
  EXPECT_EQ(cudaStreamSynchronize(s.a), cudaErrorStreamCaptureUnsupported);
  float* p;
  EXPECT_EQ(cudaMalloc(&p, 4), cudaErrorStreamCaptureUnsupported);
  OK(cudaStreamEndCapture(s.a, &graph));
  cudaGetLastError();
  EXPECT_EQ(log.download()[0], 0);
  size_t nodes = 0;
  OK(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT_EQ(nodes, 3u);
  std::array<cudaGraphNode_t, 3> list;
  OK(cudaGraphGetNodes(graph, list.data(), &nodes));
  for (cudaGraphNode_t node : list) {
    cudaGraphNodeType type;
    OK(cudaGraphNodeGetType(node, &type));
    EXPECT_EQ(type, cudaGraphNodeTypeKernel);
    cudaKernelNodeParams params;
    OK(cudaGraphKernelNodeGetParams(node, &params));
    EXPECT_EQ(params.func, reinterpret_cast<void*>(append));
    EXPECT_EQ(params.gridDim.x, 1u);
  }
  cudaGraphExec_t exec;
  OK(cudaGraphInstantiate(&exec, graph));
  OK(cudaGraphDestroy(graph));
  for (int i = 0; i < 2; ++i) OK(cudaGraphLaunch(exec, s.a));
  OK(cudaStreamSynchronize(s.a));
  EXPECT_EQ(log.download()[0], 123123);
  OK(cudaGraphExecDestroy(exec));
}

TEST(Graphs, AStreamThatDoesNotComeBackIsAnError) {
  Streams s;
  DeviceArray<float> log(std::vector<float>{0});
  OK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeGlobal));
  OK(cudaEventRecord(s.event, s.a));
  OK(cudaStreamWaitEvent(s.b, s.event));
  launch(append, {.stream = s.b}, log.get(), 2.0f);
  cudaGraph_t graph;
  EXPECT_EQ(cudaStreamEndCapture(s.a, &graph), cudaErrorStreamCaptureUnjoined);
  cudaGetLastError();
  OK(cudaDeviceSynchronize());  // nothing is left capturing
}

/// A graph of one launch of `append` with so much dynamic shared memory, captured on `stream`.
cudaGraphExec_t capture_append(cudaStream_t stream, float* log, size_t shared_bytes) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  checked(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "beginning a capture");
  launch(append, {.shared_bytes = shared_bytes, .stream = stream}, log, 1.0f);
  checked(cudaStreamEndCapture(stream, &graph), "ending a capture");
  checked(cudaGraphInstantiate(&exec, graph), "instantiating a graph");
  checked(cudaGraphDestroy(graph), "destroying a graph");
  return exec;
}

TEST(Graphs, KeepTheirSharedMemoryWhenALaterLaunchNeedsLess) {
  Streams s;
  DeviceArray<float> log(std::vector<float>{0});
  const cudaGraphExec_t exec = capture_append(s.a, log.get(), 96 * 1024);
  launch(append, {.shared_bytes = 64 * 1024, .stream = s.a}, log.get(), 2.0f);
  OK(cudaGraphLaunch(exec, s.a));
  OK(cudaStreamSynchronize(s.a));
  EXPECT_EQ(log.download()[0], 21);
  OK(cudaGraphExecDestroy(exec));
}

TEST(Graphs, AreRefusedOnceAKernelMayHaveLessSharedMemoryThanANodeNeeds) {
  Streams s;
  DeviceArray<float> log(std::vector<float>{0});
  constexpr int kBytes = 128 * 1024;
  const cudaGraphExec_t exec = capture_append(s.a, log.get(), kBytes);
  OK(cudaFuncSetAttribute(append, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes - 1));
  EXPECT_EQ(cudaGraphLaunch(exec, s.a), cudaErrorInvalidValue);
  cudaGetLastError();
  OK(cudaFuncSetAttribute(append, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024));
  OK(cudaGraphLaunch(exec, s.a));
  OK(cudaStreamSynchronize(s.a));
  EXPECT_EQ(log.download()[0], 1);
  OK(cudaGraphExecDestroy(exec));
}

TEST(Launches, RefuseWhatTheDriverRefuses) {
  DeviceArray<float> log(1);
  EXPECT_THROW(launch(append, {.grid = 0}, log.get(), 1.0f), Error);
  EXPECT_THROW(launch(append, {.block = 1025}, log.get(), 1.0f), Error);
  EXPECT_THROW(launch(append, {.block = dim3(1, 1, 65)}, log.get(), 1.0f), Error);
  EXPECT_THROW(launch(append, {.shared_bytes = 228 * 1024}, log.get(), 1.0f), Error);
  EXPECT_NO_THROW(launch(append, {.shared_bytes = 227 * 1024}, log.get(), 1.0f));
  EXPECT_EQ(emu::enqueue_launch(nullptr, 1, 1, 49 * 1024, nullptr, [] {}, {}),
            cudaErrorInvalidValue);  // not asked for
  cudaGetLastError();
}

TEST(Launches, OccupancyFollowsSharedMemoryThreadsAndBlocks) {
  int blocks = 0;
  OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, append, 1024, 0));
  EXPECT_EQ(blocks, 2);
  OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, append, 128, 100 * 1024));
  EXPECT_EQ(blocks, 2);
  OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, append, 32, 0));
  EXPECT_EQ(blocks, 32);
}

TEST(Launches, TensorMapsRefuseWhatTheHardwareCannotUse) {
  DeviceArray<float> x(1024);
  EXPECT_THROW(make_tensor_map(x.get() + 1, {.rank = 1, .extents = {512}, .box = {64}}), Error);  // base
  EXPECT_THROW(make_tensor_map(x.get(), {.rank = 2, .extents = {9, 9}, .box = {8, 8}}), Error);   // pitch
  EXPECT_THROW(make_tensor_map(x.get(), {.rank = 2, .extents = {64, 512}, .box = {64, 257}}), Error);  // box
  EXPECT_THROW(make_tensor_map(x.get(), {.rank = 2, .extents = {128, 8}, .box = {128, 8}}),
               Error);  // swizzle span
}

__global__ void write_block(int* out) {
  if (threadIdx.x + threadIdx.y + threadIdx.z == 0)
    out[blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z)] += 1;
}

TEST(Launches, EveryBlockRunsOnce) {
  DeviceArray<int> out(std::vector<int>(7 * 5 * 3, 0));
  launch(write_block, {.grid = dim3(7, 5, 3), .block = dim3(2, 3, 4)}, out.get());
  for (int v : out.download()) ASSERT_EQ(v, 1);
}

TEST(BFloat16, RoundsToNearestEven) {
  auto bits = [](float f) { return __bfloat16_as_ushort(__float2bfloat16(f)); };
  EXPECT_EQ(bits(1.0f), 0x3f80);
  EXPECT_EQ(bits(1.0f + 0x1p-8f), 0x3f80);             // half way: to even
  EXPECT_EQ(bits(1.0f + 0x1.8p-7f), 0x3f82);           // half way: to even
  EXPECT_EQ(bits(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);  // past half way
  EXPECT_EQ(bits(-0.0f), 0x8000);
  EXPECT_EQ(bits(3.4e38f), 0x7f80);  // overflows to infinity
  EXPECT_EQ(bits(std::nanf("")), 0x7fff);
  EXPECT_EQ(bits(INFINITY), 0x7f80);
  for (uint32_t u = 0; u < 0x7f80; ++u) {  // every finite bfloat16 comes back from float unchanged
    const auto b = __ushort_as_bfloat16(static_cast<unsigned short>(u));
    ASSERT_EQ(bits(__bfloat162float(b)), u);
  }
}

}  // namespace
}  // namespace imago::cuda_on_cpu

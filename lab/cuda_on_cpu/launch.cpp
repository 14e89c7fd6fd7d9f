// Runs the blocks of a grid, on several OS threads where that helps.
//
//   IMAGO_EMU_SEED=n      shuffles blocks, fibers and the landing of copies; the same n gives the same run
//   IMAGO_EMU_THREADS=n   OS threads that blocks are spread over; 1 is easiest in a debugger
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <numeric>
#include <thread>

#include "lab/cuda_on_cpu/memory.h"
#include "lab/cuda_on_cpu/settings.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {
namespace {

// A grid in progress: workers take the next block until none is left.
struct Grid {
  const Launch* launch;
  std::vector<uint32_t> order;  // block numbers, in the order in which they start
  uint64_t seed;
  bool shuffled;
  std::atomic<size_t> next{0};
};

uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

void work_on(Grid& grid) {
  static thread_local Worker own;
  worker = &own;
  const dim3& g = grid.launch->grid;
  for (size_t i; (i = grid.next.fetch_add(1)) < grid.order.size();) {
    const uint32_t b = grid.order[i];
    own.run_block(*grid.launch, {b % g.x, b / g.x % g.y, b / (g.x * g.y)}, mix(grid.seed ^ mix(b)),
                  grid.shuffled);
  }
  worker = nullptr;
}

/// OS threads that help the calling one. They sleep between grids.
class Helpers {
 public:
  explicit Helpers(int count) {
    for (int i = 0; i < count; ++i) std::thread([this] { loop(); }).detach();
    count_ = count;
  }
  void run(Grid& grid) {
    {
      std::lock_guard lock(mutex_);
      grid_ = &grid, busy_ = count_;
      ++round_;
    }
    start_.notify_all();
    work_on(grid);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return busy_ == 0; });
  }

 private:
  void loop() {
    for (uint64_t seen = 0;;) {
      Grid* grid;
      {
        std::unique_lock lock(mutex_);
        start_.wait(lock, [&] { return round_ != seen; });
        seen = round_, grid = grid_;
      }
      work_on(*grid);
      std::lock_guard lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }
  std::mutex mutex_;
  std::condition_variable start_, done_;
  Grid* grid_ = nullptr;
  int busy_ = 0, count_ = 0;
  uint64_t round_ = 0;
};

}  // namespace

void run_grid(const Launch& launch) {
  static uint64_t launches = 0;
  const Settings& settings = Settings::get();
  Grid grid;
  grid.launch = &launch;
  grid.seed = mix(settings.seed + mix(launches++));
  grid.shuffled = settings.seed != 0;
  grid.order.resize(size_t{launch.grid.x} * launch.grid.y * launch.grid.z);
  std::iota(grid.order.begin(), grid.order.end(), 0u);
  if (grid.shuffled) {
    uint64_t state = grid.seed;
    for (size_t i = grid.order.size(); i > 1; --i)
      std::swap(grid.order[i - 1], grid.order[(state = mix(state)) % i]);
  }
  if (settings.threads > 1 && grid.order.size() > 1) {
    static Helpers* helpers = new Helpers(settings.threads - 1);  // they sleep until the process ends
    helpers->run(grid);
  } else {
    work_on(grid);
  }
  check_device_red_zones(launch.where);
}

}  // namespace imago::cuda_on_cpu::emu

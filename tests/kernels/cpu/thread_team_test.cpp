// The team of threads under our own loops: every item once, whoever comes, and nobody left behind.
#include "kernels/cpu/thread_team.h"

#include <gtest/gtest.h>
#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/cpu/parallel.h"

namespace imago::cpu {
namespace {

/// So many threads for loops in this thread, while alive.
class Threads {
 public:
  explicit Threads(int count) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before_); }

 private:
  int before_ = omp_get_max_threads();
};

/// How often each of `count` items came.
std::vector<int> visits(int64_t count) {
  std::vector<int> seen(static_cast<size_t>(count));
  parallel_items(count, [&](int64_t i) { ++seen[static_cast<size_t>(i)]; });
  return seen;
}

int64_t threads_of_process() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

TEST(ThreadTeam, EveryItemComesOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads scope(threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      EXPECT_EQ(visits(count), std::vector<int>(static_cast<size_t>(count), 1)) << threads << " threads";
    }
  }
}

TEST(ThreadTeam, LoopAfterLoop) {  // workers come early, late and not at all
  const Threads scope(3);
  int64_t sum = 0;
  for (int64_t round = 0; round < 20000; ++round) {
    std::atomic<int64_t> items = 0;
    parallel_items(round % 4, [&](int64_t i) { items += i + 1; });
    sum += items;
    if (round % 1000 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));  // they fall asleep
  }
  EXPECT_EQ(sum, 5000 * (0 + 1 + 3 + 6));
}

TEST(ThreadTeam, ChunksCoverTheRangeInOrder) {
  const Threads scope(2);
  for (const int64_t n : {1, 99, 100, 101, 5000}) {
    std::vector<int> seen(static_cast<size_t>(n));
    parallel_chunks(n, 100, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(begin % 100, 0);
      EXPECT_EQ(end, std::min(n, begin + 100));
      for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
    });
    EXPECT_EQ(seen, std::vector<int>(static_cast<size_t>(n), 1));
  }
}

TEST(ThreadTeam, ThreadsHaveIndicesOfTheirOwn) {
  const Threads scope(4);
  std::mutex mutex;
  std::map<int, std::set<std::thread::id>> by_index;
  for (int round = 0; round < 50 || (by_index.size() < 4 && round < 100000); ++round) {
    parallel_items(16, [&](int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));  // so that others come
      const std::lock_guard lock(mutex);
      by_index[thread_index()].insert(std::this_thread::get_id());
    });
  }
  EXPECT_EQ(by_index.size(), 4u);
  EXPECT_EQ(by_index.rbegin()->first, 3);
  for (const auto& [index, threads] : by_index) EXPECT_EQ(threads.size(), 1u) << "index " << index;
  EXPECT_EQ(by_index[0], std::set{std::this_thread::get_id()});
}

TEST(ThreadTeam, FewerThreadsThanBefore) {
  {
    const Threads more(6);
    EXPECT_EQ(visits(100), std::vector<int>(100, 1));
  }
  const Threads scope(2);
  std::atomic<int> largest = 0;
  for (int round = 0; round < 200; ++round) {
    parallel_items(8, [&](int64_t) {
      if (thread_index() > largest) largest = thread_index();
    });
  }
  EXPECT_LT(largest, 2);
}

TEST(ThreadTeam, ALoopInALoopIsItsThreadsAlone) {
  const Threads scope(2);
  std::atomic<int> inner = 0;
  parallel_items(6, [&](int64_t) {
    const int outer_index = thread_index();
    const std::thread::id outer = std::this_thread::get_id();
    parallel_items(10, [&](int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), outer);
      EXPECT_EQ(thread_index(), 0);
      ++inner;
    });
    EXPECT_EQ(thread_index(), outer_index);
  });
  EXPECT_EQ(inner, 60);
}

TEST(ThreadTeam, WhatAnItemThrowsReachesTheCaller) {
  const Threads scope(3);
  for (const int64_t bad : {0, 5, 29}) {
    EXPECT_THROW(parallel_items(30,
                                [&](int64_t i) {
                                  if (i == bad) throw std::runtime_error("item");
                                }),
                 std::runtime_error);
    EXPECT_EQ(thread_index(), 0);
    EXPECT_EQ(visits(40), std::vector<int>(40, 1)) << "after a failure";
  }
}

TEST(ThreadTeam, SeveralCallers) {
  std::vector<std::thread> callers;
  std::atomic<int> right = 0;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      const Threads scope(2);
      for (int round = 0; round < 300; ++round) right += visits(9) == std::vector<int>(9, 1);
    });
  }
  for (std::thread& c : callers) c.join();
  EXPECT_EQ(right, 900);
}

TEST(ThreadTeam, ThreadsEndWithTheirCaller) {
  const int64_t before = threads_of_process();
  int64_t during = 0;
  std::thread([&] {
    const Threads scope(4);
    visits(100);
    during = threads_of_process();
  }).join();
  EXPECT_GE(during, before + 4);  // the caller and its three
  for (int wait = 0; threads_of_process() > before && wait < 10000;
       ++wait) {  // for the kernel to clear them away
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(threads_of_process(), before);
}

TEST(ThreadTeam, AChildProcessGoesOnAlone) {
  const Threads scope(3);
  EXPECT_EQ(visits(50), std::vector<int>(50, 1));
  const pid_t child = fork();
  if (child == 0) {
    bool right = true;
    for (int round = 0; round < 100; ++round) right = right && visits(50) == std::vector<int>(50, 1);
    _exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace imago::cpu

// How far a run is, for the person who waits: a bar on a terminal, plain lines elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace imago {

/// On a terminal one line that is redrawn at most ten times a second, as wide as the terminal:
///   train  38% ▕███████▌            ▏ 3,800/10,000  loss 0.0312  142 images/s  1:23 left
/// Anywhere else (a pipe, a file, TERM=dumb) a plain line now and then, without escape codes:
///   train: step 3,800/10,000 (38%), loss 0.0312, 142 images/s, 1:23 left
/// The loss shown is an average over roughly the last fifty steps, the speed one over the last half minute.
/// Safe to use from several threads. Never throws because the terminal is gone.
class Progress {
 public:
  struct Options {
    std::string label = "train";
    std::string unit = "images";        // what update() counts
    int fd = 2;                         // where to draw: standard error
    double seconds_between_lines = 10;  // where `fd` is no terminal
    std::function<double()> clock;      // seconds, for tests; empty: the steady clock
  };

  /// Steps start_step + 1 ... total_steps are still to come; a resumed run starts in the middle of its bar.
  Progress(int64_t total_steps, int64_t start_step, Options options);
  Progress(int64_t total_steps, int64_t start_step) : Progress(total_steps, start_step, Options()) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // as finish()

  /// Step `step` is done, with this loss (NaN: there is none to show) and `images` images since the last
  /// call.
  void update(int64_t step, double loss, int64_t images);

  /// Prints a line of its own above the bar.
  void message(std::string_view line);

  /// Draws the last state, with the total time in place of the time left, and ends the line. Once.
  void finish();

  /// Images per second over the last half minute; 0 before the second update.
  double speed() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 12,345,678
std::string with_thousands(int64_t n);
/// 0:07, 1:23, 2:03:45, 3 d 04:05
std::string format_duration(double seconds);

}  // namespace imago

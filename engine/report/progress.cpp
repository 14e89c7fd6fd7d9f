#include "engine/report/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>

#include "kernels/error.h"

namespace imago {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kSpeedSeconds = 30;  // the span over which speed is averaged
constexpr double kSpeedSamples = 60;  // how finely that span is resolved
constexpr double kLossSteps = 50;     // the loss is averaged over about as many steps
constexpr int kWidestBar = 40, kNarrowestBar = 8;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;  // nobody is looking any more; the work goes on
    text.remove_prefix(static_cast<size_t>(n));
  }
}

bool is_terminal(int fd) {
  const char* term = std::getenv("TERM");
  return isatty(fd) && !(term && std::string_view(term) == "dumb");
}

// Columns of the terminal: what it says itself, else COLUMNS, else 80.
int columns_of(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  if (const char* columns = std::getenv("COLUMNS"))
    if (const int n = std::atoi(columns); n > 0) return n;
  return 80;
}

// Whether the locale says that the terminal shows UTF-8.
bool shows_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (!value || !*value) continue;
    std::string locale = value;
    std::transform(locale.begin(), locale.end(), locale.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    return locale.find("utf-8") != locale.npos || locale.find("utf8") != locale.npos;
  }
  return false;
}

// "▕███▌      ▏", `width` columns in all; in eighths of a column where the terminal shows UTF-8.
std::string draw_bar(double fraction, int width, bool utf8) {
  const int inside = width - 2;
  if (!utf8) {
    const int full = static_cast<int>(fraction * inside);
    return "[" + std::string(full, '#') + std::string(inside - full, '.') + "]";
  }
  constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(fraction * inside * 8);
  std::string bar = "▕";
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  bar.append(inside - (eighths + 7) / 8, ' ');
  return bar + "▏";
}

std::string format_loss(double loss) {
  char text[32];
  std::snprintf(text, sizeof text, loss != 0 && (loss < 1e-3 || loss >= 1e4) ? "%.2e" : "%.4f", loss);
  return text;
}

std::string format_speed(double speed) {
  char text[32];
  std::snprintf(text, sizeof text, speed < 10 ? "%.2f" : speed < 100 ? "%.1f" : "%.0f", speed);
  return speed < 1e4 ? text : with_thousands(std::llround(speed));
}

}  // namespace

std::string with_thousands(int64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > (n < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string format_duration(double seconds) {
  const int64_t s = std::llround(std::clamp(seconds, 0.0, 1e12));
  char text[48];
  if (s >= 86400)
    std::snprintf(text, sizeof text, "%lld d %02d:%02d", static_cast<long long>(s / 86400),
                  static_cast<int>(s / 3600 % 24), static_cast<int>(s / 60 % 60));
  else if (s >= 3600)
    std::snprintf(text, sizeof text, "%d:%02d:%02d", static_cast<int>(s / 3600),
                  static_cast<int>(s / 60 % 60), static_cast<int>(s % 60));
  else
    std::snprintf(text, sizeof text, "%d:%02d", static_cast<int>(s / 60), static_cast<int>(s % 60));
  return text;
}

struct Progress::State {
  struct Sample {
    double time;
    int64_t step, images;
  };

  Options options;
  int64_t total, step;
  bool terminal, utf8;
  double start_time = 0, last_drawn = -1e300;
  int64_t images = 0;                    // in this run
  double loss_sum = 0, loss_weight = 0;  // exponential average: sum / weight
  std::deque<Sample> samples;            // the last kSpeedSeconds, ending with the latest update
  int widest_right = 0;  // columns right of the bar, so far: the bar's width does not change back and forth
  bool drawn = false, finished = false;  // drawn: the cursor stands behind a bar
  mutable std::mutex mutex;

  double now() const { return options.clock ? options.clock() : steady_seconds(); }

  void note(int64_t new_step, double loss, int64_t new_images) {
    step = new_step;
    images += new_images;
    if (std::isfinite(loss)) {
      constexpr double kKeep = 1 - 1 / kLossSteps;
      loss_sum = kKeep * loss_sum + loss;
      loss_weight = kKeep * loss_weight + 1;
    }
    const double time = now();
    // The newest sample follows the latest update until it is old enough to stay.
    if (samples.size() >= 2 &&
        samples.back().time - samples[samples.size() - 2].time < kSpeedSeconds / kSpeedSamples)
      samples.pop_back();
    samples.push_back({time, step, images});
    while (samples.size() > 2 && time - samples[1].time >= kSpeedSeconds) samples.pop_front();
  }

  // Per second over the samples; 0 if unknown.
  double rate(int64_t Sample::*what) const {
    if (samples.size() < 2) return 0;
    const double span = samples.back().time - samples.front().time;
    return span > 0 ? static_cast<double>(samples.back().*what - samples.front().*what) / span : 0;
  }

  double fraction() const {
    return total > 0 ? std::clamp(static_cast<double>(step) / static_cast<double>(total), 0.0, 1.0) : 0;
  }

  std::string counts() const {
    return total > 0 ? with_thousands(step) + "/" + with_thousands(total) : with_thousands(step);
  }

  // Loss, speed and time, joined by `gap`.
  std::string numbers(const char* gap) const {
    std::string text;
    if (loss_weight > 0) text += gap + ("loss " + format_loss(loss_sum / loss_weight));
    const double elapsed = now() - start_time;
    const double speed =
        finished && elapsed > 0 ? static_cast<double>(images) / elapsed : rate(&Sample::images);
    if (speed > 0) text += gap + (format_speed(speed) + " " + options.unit + "/s");
    if (finished)
      text += gap + ("in " + format_duration(elapsed));
    else if (const double steps = rate(&Sample::step); steps > 0 && total > step)
      text += gap + (format_duration(static_cast<double>(total - step) / steps) + " left");
    return text;
  }

  std::string percent() const {
    return total > 0 ? std::to_string(static_cast<int>(100 * fraction())) + "%" : "";
  }

  void draw_line() {
    std::string line = options.label + ": step " + counts();
    if (total > 0) line += " (" + percent() + ")";
    write_all(options.fd, line + numbers(", ") + "\n");
  }

  // The bar takes the room that the words leave; with too little room it goes, then the words are cut.
  void draw_bar_line() {
    const int width = columns_of(options.fd) - 1;  // the last column makes some terminals wrap
    const std::string share = percent();
    const std::string done = counts();
    const size_t widest_count = total > 0 ? 2 * with_thousands(total).size() + 1 : 0;
    std::string left = options.label, right = " ";
    if (done.size() < widest_count) right.append(widest_count - done.size(), ' ');
    right += done + numbers("  ");
    widest_right = std::max(widest_right, static_cast<int>(right.size()));
    if (!share.empty()) left += std::string(5 - share.size(), ' ') + share;
    std::string line = left + " " + right;
    const int room = std::min(kWidestBar, width - static_cast<int>(left.size()) - widest_right - 1);
    if (total > 0 && room >= kNarrowestBar) {
      line = left + " " + draw_bar(fraction(), room, utf8) + right;
    } else if (static_cast<int>(line.size()) > width) {
      line.resize(static_cast<size_t>(std::max(width, 0)));
    }
    write_all(options.fd, "\r" + line + "\x1b[K");
    drawn = true;
  }

  void draw(bool now_or_never) {
    const double time = now();
    if (!now_or_never && time - last_drawn < (terminal ? kRedrawSeconds : options.seconds_between_lines))
      return;
    last_drawn = time;
    terminal ? draw_bar_line() : draw_line();
  }
};

Progress::Progress(int64_t total_steps, int64_t start_step, Options options)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.options = std::move(options);
  s.total = total_steps;
  s.step = start_step;
  s.terminal = is_terminal(s.options.fd);
  s.utf8 = shows_utf8();
  s.start_time = s.now();
  if (s.terminal) s.draw(true);
}

Progress::~Progress() {
  finish();
}

void Progress::update(int64_t step, double loss, int64_t images) {
  const std::lock_guard lock(state_->mutex);
  check(!state_->finished, "progress: updated after the end");
  state_->note(step, loss, images);
  state_->draw(false);
}

void Progress::message(std::string_view line) {
  const std::lock_guard lock(state_->mutex);
  if (state_->drawn) write_all(state_->options.fd, "\r\x1b[K");
  write_all(state_->options.fd, std::string(line) + "\n");
  if (state_->drawn && !state_->finished) state_->draw(true);
}

void Progress::finish() {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  if (s.finished) return;
  s.finished = true;
  s.draw(true);
  if (s.terminal) write_all(s.options.fd, "\n");
  s.drawn = false;
}

double Progress::speed() const {
  const std::lock_guard lock(state_->mutex);
  return state_->rate(&State::Sample::images);
}

}  // namespace imago

// The progress display, on a pseudo-terminal and on a pipe, with a clock of its own.
#include "engine/report/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace imago {
namespace {

// Both ends of a channel; a thread reads what is written into one, so that writing never waits.
class Channel {
 public:
  Channel(int in, int out) : in_(in), out_(out), reader_([this] { collect(); }) {}
  Channel(const Channel&) = delete;
  ~Channel() {
    close(in_);
    reader_.join();
    close(out_);
  }
  int in() const { return in_; }
  // What was written since the last call: everything up to a mark of our own.
  std::string read_all() {
    if (write(in_, "\1", 1) != 1) throw std::runtime_error("write");
    std::unique_lock lock(mutex_);
    size_t end = 0;
    arrived_.wait(lock, [&] { return (end = text_.find('\1')) != text_.npos; });
    const std::string text = text_.substr(0, end);
    text_.erase(0, end + 1);
    return text;
  }

 private:
  void collect() {
    char part[4096];
    for (ssize_t n; (n = read(out_, part, sizeof part)) > 0; arrived_.notify_one()) {
      const std::lock_guard lock(mutex_);
      text_.append(part, static_cast<size_t>(n));
    }
  }
  int in_, out_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::string text_;
  std::thread reader_;
};

std::unique_ptr<Channel> make_pipe() {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("pipe");
  return std::make_unique<Channel>(ends[1], ends[0]);
}

std::unique_ptr<Channel> make_terminal(int columns) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) throw std::runtime_error("posix_openpt");
  const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = 24;
  if (slave < 0 || ioctl(slave, TIOCSWINSZ, &size) != 0) throw std::runtime_error("terminal");
  return std::make_unique<Channel>(slave, master);
}

// An environment variable for the length of a test; nullptr unsets it.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = getenv(name)) old_ = old, had_ = true;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Variable() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

class ProgressTest : public ::testing::Test {
 protected:
  Progress::Options options(const Channel& channel) {
    Progress::Options o;
    o.fd = channel.in();
    o.clock = [this] { return time; };
    return o;
  }
  // `n` steps of 1/8 s and 16 images.
  void steps(Progress& progress, int64_t n, double loss = 0.03125) {
    for (int64_t i = 0; i < n; ++i) {
      time += 0.125;
      progress.update(++step, loss, 16);
    }
  }
  double time = 1000;
  int64_t step = 0;
  Variable term_{"TERM", "xterm"}, all_{"LC_ALL", "C.UTF-8"};
};

// What a terminal shows at the end: the last line, after carriage returns and "erase to the end of the line".
std::vector<std::string> screen(const std::string& sent) {
  std::vector<std::string> lines{""};
  for (size_t i = 0; i < sent.size(); ++i) {
    if (sent[i] == '\n') {
      lines.emplace_back();
    } else if (sent[i] == '\r') {
      if (i + 1 < sent.size() && sent[i + 1] != '\n') lines.back().clear();
    } else if (sent.compare(i, 3, "\x1b[K") == 0) {
      i += 2;
    } else {
      lines.back() += sent[i];
    }
  }
  return lines;
}

int columns(const std::string& utf8) {  // characters, each one column wide here
  int n = 0;
  for (const unsigned char c : utf8) n += (c & 0xc0) != 0x80;
  return n;
}

int count(const std::string& text, const std::string& what) {
  int n = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

TEST_F(ProgressTest, OnATerminalOneLineIsRedrawn) {
  const auto terminal = make_terminal(100);
  Progress progress(1000, 0, options(*terminal));
  steps(progress, 250);
  const std::string sent = terminal->read_all();
  EXPECT_EQ(count(sent, "\n"), 0);
  EXPECT_EQ(screen(sent).back(),
            "train  25% ▕█████████                           ▏   250/1,000"
            "  loss 0.0312  128 images/s  1:34 left");
}

TEST_F(ProgressTest, RedrawsAtMostTenTimesASecond) {
  const auto terminal = make_terminal(100);
  Progress progress(100000, 0, options(*terminal));
  for (int i = 1; i <= 5000; ++i) {  // 5 s
    time += 0.001;
    progress.update(i, 1, 1);
  }
  const int draws = count(terminal->read_all(), "\r");
  EXPECT_LE(draws, 51);
  EXPECT_GE(draws, 45);
}

TEST_F(ProgressTest, FitsEveryWidth) {
  for (int width = 1; width <= 140; ++width) {
    const auto terminal = make_terminal(width);
    step = 0;
    Progress progress(12345, 0, options(*terminal));
    steps(progress, 9);
    const std::string line = screen(terminal->read_all()).back();
    EXPECT_LT(columns(line), width) << line;
    EXPECT_EQ(line.substr(0, 5), std::string("train").substr(0, static_cast<size_t>(width - 1)));
    EXPECT_EQ(count(line, "▕"), width >= 73 ? 1 : 0) << width << ": " << line;
  }
}

TEST_F(ProgressTest, FollowsATerminalThatIsResized) {
  const auto terminal = make_terminal(120);
  Progress progress(1000, 0, options(*terminal));
  steps(progress, 10);
  const winsize narrow{24, 40, 0, 0};
  ASSERT_EQ(ioctl(terminal->in(), TIOCSWINSZ, &narrow), 0);
  terminal->read_all();
  steps(progress, 1);
  EXPECT_EQ(columns(screen(terminal->read_all()).back()), 39);
}

TEST_F(ProgressTest, WithoutUtf8TheBarIsAscii) {
  const Variable plain("LC_ALL", "C");
  const auto terminal = make_terminal(100);
  Progress progress(1000, 0, options(*terminal));
  steps(progress, 500);
  const std::string sent = terminal->read_all();
  for (const char c : sent) EXPECT_GE(c, 0);
  EXPECT_NE(screen(sent).back().find(" [##################..................]   500/1,000 "), sent.npos)
      << screen(sent).back();
}

TEST_F(ProgressTest, MessagesStandAboveTheBar) {
  const auto terminal = make_terminal(100);
  Progress progress(1000, 0, options(*terminal));
  steps(progress, 8);
  progress.message("wrote checkpoint-8");
  steps(progress, 8);
  progress.finish();
  const std::vector<std::string> lines = screen(terminal->read_all());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "wrote checkpoint-8");
  EXPECT_EQ(lines[1].substr(0, 11), "train   1% ");
  EXPECT_NE(lines[1].find("   16/1,000  loss 0.0312  128 images/s  in 0:02"), std::string::npos) << lines[1];
  EXPECT_EQ(lines[2], "");
}

TEST_F(ProgressTest, ElsewherePlainLinesNowAndThen) {
  const auto pipe = make_pipe();
  {
    Progress progress(4000, 0, options(*pipe));
    steps(progress, 1);
    EXPECT_EQ(pipe->read_all(), "train: step 1/4,000 (0%), loss 0.0312\n");
    steps(progress, 79);
    EXPECT_EQ(pipe->read_all(), "");
    steps(progress, 1);
    EXPECT_EQ(pipe->read_all(), "train: step 81/4,000 (2%), loss 0.0312, 128 images/s, 8:10 left\n");
    progress.message("a line of its own");
    EXPECT_EQ(pipe->read_all(), "a line of its own\n");
    steps(progress, 3919);
    const std::string rest = pipe->read_all();
    EXPECT_EQ(count(rest, "\n"), 48);  // 490 s, one line in about ten seconds (81 steps are 10.125 s)
    EXPECT_EQ(rest.find('\x1b'), rest.npos);
    EXPECT_EQ(rest.find('\r'), rest.npos);
  }
  EXPECT_EQ(pipe->read_all(), "train: step 4,000/4,000 (100%), loss 0.0312, 128 images/s, in 8:20\n");
}

TEST_F(ProgressTest, ADumbTerminalGetsPlainLines) {
  const Variable dumb("TERM", "dumb");
  const auto terminal = make_terminal(100);
  Progress progress(100, 0, options(*terminal));
  steps(progress, 1);
  EXPECT_EQ(terminal->read_all(), "train: step 1/100 (1%), loss 0.0312\r\n");  // \r by the terminal driver
}

TEST_F(ProgressTest, AResumedRunCountsOnlyWhatItDid) {
  const auto pipe = make_pipe();
  step = 3000;
  Progress progress(4000, 3000, options(*pipe));
  steps(progress, 82);
  EXPECT_EQ(progress.speed(), 128);
  progress.finish();
  const std::string text = pipe->read_all();
  EXPECT_NE(text.find("step 3,081/4,000 (77%), loss 0.0312, 128 images/s, 1:55 left"), text.npos) << text;
  EXPECT_NE(text.find("step 3,082/4,000 (77%), loss 0.0312, 128 images/s, in 0:10"), text.npos) << text;
}

TEST_F(ProgressTest, SpeedFollowsTheLastHalfMinute) {
  const auto pipe = make_pipe();
  Progress progress(100000, 0, options(*pipe));
  EXPECT_EQ(progress.speed(), 0);
  time += 60;  // a slow start does not count
  progress.update(++step, 1, 16);
  EXPECT_EQ(progress.speed(), 0);
  steps(progress, 400);
  EXPECT_DOUBLE_EQ(progress.speed(), 128);
  for (int i = 0; i < 40; ++i) {  // four times as slow for 20 s: 20 of the last 30 s
    time += 0.5;
    progress.update(++step, 1, 16);
  }
  EXPECT_NEAR(progress.speed(), (10 * 128 + 20 * 32) / 30.0, 128 * 0.5 / 30);  // a sample every 0.5 s
  for (int i = 0; i < 40; ++i) {
    time += 0.5;
    progress.update(++step, 1, 16);
  }
  EXPECT_DOUBLE_EQ(progress.speed(), 32);
}

TEST_F(ProgressTest, TheLossShownIsAnAverageWithoutStartingBias) {
  const auto pipe = make_pipe();
  Progress::Options o = options(*pipe);
  o.seconds_between_lines = 0;
  Progress progress(100000, 0, o);
  steps(progress, 1, 2);
  EXPECT_NE(pipe->read_all().find("loss 2.0000"), std::string::npos);
  steps(progress, 1, 1);  // (0.98 * 2 + 1) / 1.98
  EXPECT_NE(pipe->read_all().find("loss 1.4949"), std::string::npos);
  steps(progress, 1, NAN);  // nothing to show leaves the average as it is
  EXPECT_NE(pipe->read_all().find("loss 1.4949"), std::string::npos);
  steps(progress, 600, 1e-5);
  const std::string text = pipe->read_all();
  EXPECT_NE(text.find("loss 1.32e-05"), std::string::npos) << text.substr(text.size() - 100);
}

TEST_F(ProgressTest, WithoutLossOrTotal) {
  const auto pipe = make_pipe();
  Progress::Options o = options(*pipe);
  o.label = "sample";
  o.seconds_between_lines = 0;
  Progress progress(0, 0, o);
  steps(progress, 9, NAN);
  const std::string text = pipe->read_all();
  EXPECT_NE(text.find("\nsample: step 9, 128 images/s\n"), text.npos) << text;
}

TEST_F(ProgressTest, ALostTerminalDoesNotStopTheWork) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  Progress::Options o;
  o.fd = ends[1];
  o.seconds_between_lines = 0;
  Progress progress(100, 0, o);
  steps(progress, 100);
  progress.finish();
  progress.finish();
  EXPECT_EQ(step, 100);
  close(ends[1]);
}

TEST_F(ProgressTest, MessagesFromOtherThreadsStayWhole) {
  const auto pipe = make_pipe();
  Progress::Options o = options(*pipe);
  o.seconds_between_lines = 0;
  Progress progress(100, 0, o);
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) progress.message("skipped a broken image");
  });
  steps(progress, 100);
  other.join();
  const std::vector<std::string> lines = screen(pipe->read_all());
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "skipped a broken image"), 100);
  EXPECT_EQ(lines.size(), 201u);  // 100 messages, 100 steps, and what follows the last newline
}

TEST(ProgressText, NumbersAndDurations) {
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(1000), "1,000");
  EXPECT_EQ(with_thousands(-123456), "-123,456");
  EXPECT_EQ(with_thousands(12345678), "12,345,678");
  EXPECT_EQ(format_duration(0.4), "0:00");
  EXPECT_EQ(format_duration(6.6), "0:07");
  EXPECT_EQ(format_duration(83), "1:23");
  EXPECT_EQ(format_duration(3599.6), "1:00:00");
  EXPECT_EQ(format_duration(7425), "2:03:45");
  EXPECT_EQ(format_duration(86400 * 3 + 4 * 3600 + 5 * 60), "3 d 04:05");
  EXPECT_EQ(format_duration(-5), "0:00");
}

}  // namespace
}  // namespace imago

#include "engine/report/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <system_error>

#include "engine/io/crc32c.h"
#include "engine/report/event_messages.h"
#include "kernels/error.h"

namespace imago {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void append_little_endian(std::string& out, uint64_t value, int size) {
  for (int i = 0; i < size; ++i) out.push_back(static_cast<char>(value >> 8 * i));
}

void append_masked_crc(std::string& out, std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  append_little_endian(out, static_cast<uint32_t>((crc >> 15 | crc << 17) + 0xa282ead8u), 4);
}

// The largest SECONDS in the names of the event files in the folder, or -1.
int64_t latest_seconds(const fs::path& folder, std::error_code& error) {
  int64_t latest = -1;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    int64_t seconds = 0;
    if (!name.starts_with(kPrefix)) continue;
    const char* digits = name.data() + kPrefix.size();
    if (std::from_chars(digits, name.data() + name.size(), seconds).ec == std::errc())
      latest = std::max(latest, seconds);
  }
  return latest;
}

// Seconds take ten digits, so that names sort as times do.
std::string file_name(int64_t seconds) {
  static std::atomic<int> counter{0};
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0 || host[0] == '\0') host = {"localhost"};
  std::string digits = std::to_string(seconds);
  digits.insert(0, 10 - std::min<size_t>(10, digits.size()), '0');
  return str(kPrefix, digits, ".", host.data(), ".", getpid(), ".", counter++);
}

}  // namespace

std::string tf_record(std::string_view data) {
  std::string record;
  record.reserve(data.size() + 16);
  append_little_endian(record, data.size(), 8);
  append_masked_crc(record, std::string_view(record).substr(0, 8));
  record += data;
  append_masked_crc(record, data);
  return record;
}

EventFileWriter::EventFileWriter(const fs::path& folder, int64_t first_step) {
  path_ = folder;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(error.value());
  const int64_t latest = latest_seconds(folder, error);
  if (error) fail(error.value());
  path_ /= file_name(std::max(static_cast<int64_t>(wall_time()), latest + 1));
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) fail(errno);
  try {
    write(file_version_event(wall_time()));
    write(session_start_event(wall_time(), first_step));
  } catch (...) {
    close(fd_);
    throw;
  }
}

EventFileWriter::~EventFileWriter() {
  close(fd_);
}

void EventFileWriter::fail(int error) const {
  failure(path_.string(), ": cannot write: ", std::system_category().message(error));
}

void EventFileWriter::write(std::string_view event) {
  const std::string record = tf_record(event);
  for (size_t done = 0; done < record.size();) {
    const ssize_t n = ::write(fd_, record.data() + done, record.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      [[maybe_unused]] const int cut = ftruncate(fd_, bytes_);  // back to whole records
      fail(error);
    }
    done += static_cast<size_t>(n);
  }
  bytes_ += static_cast<int64_t>(record.size());
}

void EventFileWriter::scalar(std::string_view tag, int64_t step, float value) {
  write(scalar_event(wall_time(), step, tag, value));
}

void EventFileWriter::image(std::string_view tag, int64_t step, std::string_view png, int width, int height,
                            int channels) {
  write(image_event(wall_time(), step, tag, {png, height, width, channels}));
}

}  // namespace imago

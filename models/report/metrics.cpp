#include "models/report/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "engine/io/atomic_file.h"
#include "kernels/error.h"

namespace imago {
namespace {

using nlohmann::json;

// Calls visit(key, member) for every number of a row in the order of the file: the one place that knows the
// keys.
template <class Row, class Visit>
void for_each_key(Row& row, Visit visit) {
  visit("step", row.step);
  visit("epoch", row.epoch);
  visit("pictures", row.images);
  visit("loss", row.loss);
  visit("loss_q1", row.loss_by_quartile[0]);
  visit("loss_q2", row.loss_by_quartile[1]);
  visit("loss_q3", row.loss_by_quartile[2]);
  visit("loss_q4", row.loss_by_quartile[3]);
  visit("learning_rate", row.learning_rate);
  visit("grad_norm", row.grad_norm);
  visit("ema_decay", row.ema_decay);
  visit("seconds", row.seconds);
  visit("pictures_per_second", row.images_per_second);
}

template <class Number>
void append_number(std::string& line, Number value) {
  if constexpr (std::is_floating_point_v<Number>) {
    if (!std::isfinite(value)) {
      line += "null";
      return;
    }
  }
  char text[32];
  line.append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

// One line of a file as a row. False where it is not one.
bool parse_row(std::string_view line, MetricsRow& row) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || !object.contains("step")) return false;
  bool good = true;
  for_each_key(row, [&](const char* key, auto& member) {
    using Number = std::remove_reference_t<decltype(member)>;
    const auto found = object.find(key);
    if (found == object.end()) return;
    if constexpr (std::is_integral_v<Number>) {
      good = good && found->is_number_integer();
      if (good) member = found->get<Number>();
    } else {
      good = good && (found->is_number() || found->is_null());
      if (good) member = found->is_null() ? Number(kNotMeasured) : found->get<Number>();
    }
  });
  return good && row.step > 0;
}

// Calls use(row, end of its line in bytes) for every whole line, until `use` returns false.
template <class Use>
void scan(std::string_view content, const std::filesystem::path& path, Use use) {
  int64_t line = 0, step = 0;
  for (size_t start = 0, end; (end = content.find('\n', start)) != content.npos; start = end + 1) {
    ++line;
    MetricsRow row;
    if (!parse_row(content.substr(start, end - start), row))
      bad_input(path.string(), ":", line, ": expected a JSON object with numbers, as metrics.jsonl has them");
    if (row.step <= step)
      bad_input(path.string(), ":", line, ": step ", row.step, " comes after step ", step);
    step = row.step;
    if (!use(row, end + 1)) return;
  }
}

}  // namespace

std::string format_metrics_row(const MetricsRow& row) {
  std::string line;
  line.reserve(320);
  for_each_key(row, [&](const char* key, const auto& value) {
    line += line.empty() ? "{\"" : ",\"";
    line.append(key).append("\":");
    append_number(line, value);
  });
  return line + "}";
}

MetricsWriter::MetricsWriter(std::filesystem::path path, int64_t last_step) : path_(std::move(path)) {
  if (last_step > 0 && std::filesystem::exists(path_)) {
    scan(read_file(path_), path_, [&](const MetricsRow& row, size_t end) {
      if (row.step > last_step) return false;
      bytes_ = static_cast<int64_t>(end);
      ++rows_kept_;
      return true;
    });
  }
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) fail(errno);
  if (ftruncate(fd_, bytes_) != 0) fail(errno);
}

MetricsWriter::~MetricsWriter() {
  if (fd_ >= 0) close(fd_);
}

void MetricsWriter::fail(int error) {
  if (fd_ >= 0) {
    // Nothing can be done where this fails too: whoever reads the file drops the torn line.
    [[maybe_unused]] const int ignored = ftruncate(fd_, bytes_);
    close(fd_);
    fd_ = -1;
  }
  failure(path_.string(), ": cannot write: ", std::system_category().message(error));
}

void MetricsWriter::write(const MetricsRow& row) {
  check(fd_ >= 0, path_.string(), ": written to after an error");
  const std::string line = format_metrics_row(row) + "\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno);
    done += static_cast<size_t>(n);
  }
  bytes_ += static_cast<int64_t>(line.size());
}

void MetricsWriter::sync() {
  check(fd_ >= 0, path_.string(), ": synced after an error");
  while (fdatasync(fd_) != 0) {
    if (errno == EINTR) continue;
    if (errno == EINVAL || errno == EROFS) return;  // a pipe or device: nothing to sync
    fail(errno);
  }
}

std::vector<MetricsRow> read_metrics(const std::filesystem::path& path) {
  std::vector<MetricsRow> rows;
  scan(read_file(path), path, [&](const MetricsRow& row, size_t) {
    rows.push_back(row);
    return true;
  });
  return rows;
}

}  // namespace imago

#include "kernels/cuda/runtime/choice_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <system_error>

#include "kernels/error.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

namespace fs = std::filesystem;

struct TunedOpText {
  const char *name, *numbers;
};
/// For dgrad, h and w are the first row and column of a residue class; `added` has bits for bias,
/// per_image_bias and residual, `so_far` for its sources; `vector` one for operands, one for results that are
/// accessed sixteen bytes at a time.
constexpr std::array<TunedOpText, 5> kTunedOps = {{
    {"conv2d", "N H W Ca Cb K R S stride top left Ho Wo added vector"},
    {"conv2d_dgrad", "N H W Ca Cb K R S stride top left Ho Wo h w vector so_far"},
    {"conv2d_wgrad", "N H W Ca Cb K R S stride top left Ho Wo vector"},
    {"group_norm", "N P Ca Cb G scale_shift vector"},
    {"group_norm_backward", "N P Ca Cb G scale_shift vector so_far"},
}};

/// "KEY -> wgmma_256 x 1 (TIME us, by rule TIME us);", or nothing.
bool parse(const std::string& line, std::string& key, Choice& choice) {
  const size_t arrow = line.find(" -> ");
  if (arrow == 0 || arrow == std::string::npos) return false;
  const std::string value = line.substr(arrow + 4);
  char kernel[16];
  double microseconds, by_rule;
  int end = 0;
  if (std::sscanf(value.c_str(), "%15s x %d (%lf us, by rule %lf us);%n", kernel, &choice.parts,
                  &microseconds, &by_rule, &end) != 4 ||
      static_cast<size_t>(end) != value.size() || choice.parts < 1)
    return false;
  for (size_t i = 0; i < kKernelNames.size(); ++i) {
    if (std::string_view(kernel) != kKernelNames[i]) continue;
    choice.kernel = static_cast<Kernel>(i);
    key = line.substr(0, arrow);
    return true;
  }
  return false;
}

}  // namespace

ChoiceKey::ChoiceKey(TunedOp op, DType dtype, std::initializer_list<int64_t> of) : op(op), dtype(dtype) {
  check(of.size() <= kMost, "a choice depends on at most ", kMost, " numbers");
  std::copy(of.begin(), of.end(), numbers.begin());
}

size_t ChoiceKey::hash() const {  // FNV-1a (Fowler, Noll & Vo), a number at a time
  uint64_t h = 0xcbf29ce484222325u ^ static_cast<uint64_t>(op) << 8 ^ static_cast<uint64_t>(dtype);
  for (const int64_t number : numbers) h = (h ^ static_cast<uint64_t>(number)) * 0x100000001b3u;
  return h ^ h >> 32;
}

std::string ChoiceKey::text() const {
  const TunedOpText& of = kTunedOps[static_cast<size_t>(op)];
  std::string text = str(of.name, " ", dtype), name;
  std::istringstream names(of.numbers);
  for (size_t i = 0; names >> name; ++i) text += str(" ", name, "=", numbers[i]);
  return text;
}

void ChoiceCache::open(const fs::path& path) {
  path_ = path;
  std::error_code error;
  if (!fs::exists(path, error)) return;
  std::ifstream file;
  if (fs::is_regular_file(path, error)) file.open(path, std::ios::binary);
  if (!file.is_open()) return give_up("is no file that can be read");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  read(text);
  cut_off_ = !text.empty() && text.back() != '\n';
}

void ChoiceCache::read(const std::string& text) {
  std::istringstream lines(text);
  int ignored = 0;
  std::string line, key;
  for (Choice choice{}; std::getline(lines, line);) {
    if (line.empty()) continue;
    if (parse(line, key, choice))
      choices_.insert_or_assign(key, choice);
    else
      ++ignored;
  }
  if (ignored) warn(str(ignored, " lines that hold no choice are ignored"));
}

const Choice* ChoiceCache::find(const std::string& key) const {
  const auto found = choices_.find(key);
  return found == choices_.end() ? nullptr : &found->second;
}

void ChoiceCache::add(const std::string& key, Choice choice, double microseconds, double by_rule) {
  choices_.insert_or_assign(key, choice);
  char times[64];
  std::snprintf(times, sizeof times, "%.1f us, by rule %.1f us", microseconds, by_rule);
  if (!path_.empty())
    append(str(key, " -> ", choice.kernel_name(), " x ", choice.parts, " (", times, ");\n"));
}

void ChoiceCache::append(std::string line) {
  if (cut_off_) line.insert(0, "\n");
  cut_off_ = false;
  std::error_code error;
  fs::create_directories(path_.parent_path(), error);  // should it fail, so does open()
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const bool written = fd >= 0 && write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  const int code = fd < 0 ? errno : ENOSPC;
  if (fd >= 0) close(fd);
  if (!written) give_up(str("cannot be written (", std::system_category().message(code), ")"));
}

void ChoiceCache::warn(const std::string& what) {
  if (!warned_) std::fprintf(stderr, "warning: the autotuner's %s: %s\n", path_.c_str(), what.c_str());
  warned_ = true;
}

void ChoiceCache::give_up(const std::string& what) {
  warn(what + "; what is measured is not kept");
  path_.clear();
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE

// What the autotuner knows: choices by what they were made for, and the file that keeps them.
#pragma once

#include <array>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <unordered_map>

#include "kernels/cuda/runtime/choice.h"
#include "kernels/cuda/runtime/cuda_api.h"
#include "kernels/dtype.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

using namespace tiling;

/// The operations that have candidates.
enum class TunedOp : uint8_t { kConv2d, kConv2dDgrad, kConv2dWgrad, kGroupNorm, kGroupNormBackward };

/// All that the time of an operation depends on: types, shapes, geometry, which operands there are and how
/// they are aligned. The numbers' meanings are in choice_cache.cpp.
struct ChoiceKey {
  static constexpr size_t kMost = 17;

  ChoiceKey(TunedOp op, DType dtype, std::initializer_list<int64_t> numbers);
  bool operator==(const ChoiceKey&) const = default;
  size_t hash() const;
  std::string text() const;  // "group_norm bfloat16 N=128 P=1024 Ca=128 Cb=0 G=32 scale_shift=0 vector=1"

  TunedOp op;
  DType dtype;
  std::array<int64_t, kMost> numbers{};  // zeros behind the last
};

/// Choices by the text of their key. As text, one a line:
///   KEY -> wgmma_256 x 1 (TIME us, by rule TIME us);
///
/// A file of them is only ever appended to, a line in one write: so several programs can use it at once, and
/// a choice is kept as soon as it is made, even if the program is killed. Of a key that occurs twice the last
/// line counts. A line that was cut off, or that is something else, is ignored. A file that cannot be read or
/// written costs a warning on stderr, nothing more: choices then last as long as the program.
class ChoiceCache {
 public:
  /// Reads what is there; what is added from now on goes to this file too.
  void open(const std::filesystem::path& path);
  void read(const std::string& text);
  const Choice* find(const std::string& key) const;
  void add(const std::string& key, Choice choice, double microseconds, double by_rule);

 private:
  void append(std::string line);
  void warn(const std::string& what);  // the first time
  void give_up(const std::string& what);

  std::unordered_map<std::string, Choice> choices_;
  std::filesystem::path path_;  // empty: none, or one that could not be written
  bool cut_off_ = false;        // the file's last line has no end
  bool warned_ = false;
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE

// Who computes a convolution on the CPU: the rule, and a table that may stand before it.
//
// Three ways give the same sums, each in an order of its own: Winograd's algorithm (winograd.h), our direct
// kernels (conv2d_direct.h) and oneDNN (conv2d_library.h). Which is fastest depends on shape and processor.
// The rule is a function of the shape and the instruction set alone, so the same inputs give the same bits,
// also after a resume on the same kind of machine. A table of what was measured on one machine
// (IMAGO_CPU_CHOICES=FILE; `./run bench tune` writes one) stands before the rule for the shapes it names.
#pragma once

#include <compare>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "kernels/cpu/convolution/conv2d_direct.h"
#include "kernels/dtype.h"

namespace imago::cpu {

enum class ConvPass : uint8_t { kForward, kDgrad, kWgrad };
enum class ConvWay : uint8_t { kOneDnn, kDirect, kWinograd };

const char* name_of(ConvWay way);  // "onednn", "direct", "winograd"

/// What a way is chosen by. The batch is no part of it: the bits of an image's y must not depend on how many
/// images go through together. Matrix products (1x1 filters with stride 1, linear layers) count as images of
/// one pixel.
struct ConvKind {
  ConvPass pass;
  DType type;                        // of the activations
  int64_t h, w, c, k, r, s, stride;  // input [N,h,w,c], filter [k,r,s,c]

  static ConvKind of(ConvPass pass, DType type, const ConvShape& shape);
  bool is_product() const { return r == 1 && s == 1 && stride == 1; }
  auto operator<=>(const ConvKind&) const = default;
  std::string text() const;  // "conv2d_dgrad float32 H=16 W=16 C=64 K=128 R=3 S=3 stride=1"
};

/// Whether a way can compute it: Winograd's algorithm is for filters of 3x3 with stride 1, our direct dgrad
/// for stride 1. oneDNN can do all.
bool is_possible(ConvWay way, ConvPass pass, const ConvShape& shape);

/// The rule.
ConvWay way_by_rule(const ConvKind& kind, const ConvShape& shape);

/// Ways that were measured. As text, one a line, "KIND -> WAY", then a blank and anything; lines that are
/// empty or begin with # say nothing.
class ConvChoices {
 public:
  ConvChoices() = default;
  /// Bad input names `origin` and the line.
  static ConvChoices parse(const std::string& text, const std::string& origin);
  /// The file that IMAGO_CPU_CHOICES names; none where it is unset or empty.
  static ConvChoices from_environment();

  std::optional<ConvWay> find(const ConvKind& kind) const;
  size_t size() const { return ways_.size(); }

 private:
  std::map<ConvKind, ConvWay> ways_;
};

}  // namespace imago::cpu

// The rule's reasons, in figures.
//
// Winograd's algorithm needs a quarter of the products of a 3x3 filter with stride 1, and is the fastest
// wherever it applies: images of 8x8 and more, at least 16 channels on either side. GFLOP/s of direct
// convolution's FLOPs, both threads of a 2-core Zen 5 with AVX-512, batch 16, float32, 2026-11-24 (FMA limit
// 530):
//   3x3                             oneDNN 2.6.3: forward, dgrad, wgrad     Winograd
//   32x32,  64 -> 64                483  457  511                           1207 1226 1002
//   32x32, 128 -> 128               502  457  526                           1266 1275 1147
//   16x16, 256 -> 256               539  486  494                           1176 1151 1144
//    8x8,  256 -> 256               550  510  502                            902  936  976
//    4x4,  256 -> 256               382  528  373                            518  532  526
// At batch 1 the transforms of the filters weigh more: 32x32, 128 -> 128: 397 (oneDNN) and 794; 16x16, 256 ->
// 256: 431 and 519; 8x8, 256 -> 256: 257 and 167; 4x4, 256 -> 256: 86 and 46.
//
// oneDNN reaches 84 to 92 % of the peak in NHWC on a CPU with AVX-512 in float32, 75 to 89 % in bfloat16,
// where it keeps Winograd's shapes, too. Without AVX-512 it has no bfloat16 at all, and its NHWC kernels lose
// to our own direct ones where wide channels meet (GFLOP/s of one Zen 2 thread with a peak of 94, batch 16,
// on a shared machine):
//   3x3                             oneDNN 2.6.3: forward, dgrad, wgrad     direct
//   32x32,  64 -> 64                75  71  46                              72  70  67
//   32x32, 128 + 64 -> 64           51  62  41                              68  64  60
//   16x16, 128 -> 128               64  68  51                              64  67  63
//   16x16, 128 + 128 -> 128         61  56  53                              67  64  56
//
// A 1x1 filter or a linear layer over 32 channels and more, forward in float32, is our direct kernel's on
// every CPU: with thousands of rows the two are as fast, but oneDNN brings the weights into its own format at
// every call, which costs more than the product where rows are few, as in sampling. GFLOP/s, both threads of
// the Zen 5 (busy with other work), oneDNN and direct: 128 -> 128, 4096 rows: 231 210; 256 rows: 137 178; 64
// rows: 70 185; 256 -> 128, one row: 1.3 7.9.
//
// What stays oneDNN's everywhere: the float32 gradients of 1x1 filters and linear layers, filters over very
// few channels (the first layer's 3 do not fill our vectors), and the gradient with respect to the data of
// strided convolutions.
#include "kernels/cpu/convolution/choice.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>

#include "kernels/cpu/convolution/conv2d_onednn.h"
#include "kernels/cpu/convolution/conv2d_winograd.h"
#include "kernels/error.h"

namespace imago::cpu {
namespace {

constexpr std::array kWayNames = {"onednn", "direct", "winograd"};
constexpr std::array kPassNames = {"conv2d", "conv2d_dgrad", "conv2d_wgrad"};
constexpr std::array kTypes = {DType::kFloat32, DType::kBFloat16};

template <class Names>
std::optional<size_t> place_in(const Names& names, std::string_view name) {
  for (size_t i = 0; i < names.size(); ++i)
    if (name == names[i]) return i;
  return {};
}

/// "conv2d float32 H=1 W=1 C=64 K=64 R=1 S=1 stride=1 -> direct (...)", or nothing.
std::optional<std::pair<ConvKind, ConvWay>> parse_line(const std::string& line) {
  char pass[16], type[16], way[16];
  long h, w, c, k, r, s, stride;
  if (std::sscanf(line.c_str(), "%15s %15s H=%ld W=%ld C=%ld K=%ld R=%ld S=%ld stride=%ld -> %15s", pass,
                  type, &h, &w, &c, &k, &r, &s, &stride, way) != 10)
    return {};
  const auto which_pass = place_in(kPassNames, pass), which_way = place_in(kWayNames, way);
  const auto which_type = place_in(std::array{str(kTypes[0]), str(kTypes[1])}, type);
  if (!which_pass || !which_way || !which_type) return {};
  return std::pair{
      ConvKind{static_cast<ConvPass>(*which_pass), kTypes[*which_type], h, w, c, k, r, s, stride},
      static_cast<ConvWay>(*which_way)};
}

}  // namespace

const char* name_of(ConvWay way) {
  return kWayNames[static_cast<size_t>(way)];
}

ConvKind ConvKind::of(ConvPass pass, DType type, const ConvShape& shape) {
  const ConvShape flat = shape.flattened();
  if (flat.h == 1 && flat.r == 1 && flat.s == 1) return {pass, type, 1, 1, flat.c, flat.k, 1, 1, 1};
  return {pass, type, shape.h, shape.w, shape.c, shape.k, shape.r, shape.s, shape.stride};
}

std::string ConvKind::text() const {
  return str(kPassNames[static_cast<size_t>(pass)], " ", type, " H=", h, " W=", w, " C=", c, " K=", k,
             " R=", r, " S=", s, " stride=", stride);
}

bool is_possible(ConvWay way, ConvPass pass, const ConvShape& shape) {
  switch (way) {
    case ConvWay::kWinograd: return pass == ConvPass::kWgrad ? is_winograd_wgrad(shape) : is_winograd(shape);
    case ConvWay::kDirect: return pass != ConvPass::kDgrad || shape.stride == 1;
    case ConvWay::kOneDnn: return true;
  }
  return false;
}

ConvWay way_by_rule(const ConvKind& kind, const ConvShape& shape) {
  static const bool library_is_fast = onednn::is_fast();
  const bool forward = kind.pass == ConvPass::kForward, bf16 = kind.type == DType::kBFloat16;
  const bool large = kind.pass == ConvPass::kWgrad || shape.ho * shape.wo >= 64;
  if (large && !(library_is_fast && bf16) && is_possible(ConvWay::kWinograd, kind.pass, shape))
    return ConvWay::kWinograd;

  // Those summed over, or in wgrad those along which our kernel's vectors run.
  const int64_t channels = kind.pass == ConvPass::kDgrad ? kind.k : kind.c;
  const bool direct = library_is_fast ? kind.is_product() && forward && !bf16 && channels >= 2 * kLanes
                                      : bf16 || ((forward || !kind.is_product()) && channels >= kLanes);
  return direct && is_possible(ConvWay::kDirect, kind.pass, shape) ? ConvWay::kDirect : ConvWay::kOneDnn;
}

ConvChoices ConvChoices::parse(const std::string& text, const std::string& origin) {
  ConvChoices choices;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    const auto entry = parse_line(line);
    if (!entry)
      bad_input(origin, ", line ", number, ": expected \"", ConvKind{}.text(),
                " -> WAY\" with numbers of its own and onednn, direct or winograd");
    choices.ways_.insert_or_assign(entry->first, entry->second);
  }
  return choices;
}

ConvChoices ConvChoices::from_environment() {
  const char* const name = std::getenv("IMAGO_CPU_CHOICES");
  if (!name || !*name) return {};
  std::ifstream file(name, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) bad_input("IMAGO_CPU_CHOICES=", name, ": cannot be read");
  return parse(text, str("IMAGO_CPU_CHOICES=", name));
}

std::optional<ConvWay> ConvChoices::find(const ConvKind& kind) const {
  const auto found = ways_.find(kind);
  return found == ways_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace imago::cpu

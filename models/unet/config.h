// What a U-Net looks like: the keys of diffusers' unet/config.json (class UNet2DModel), under the same names.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace imago {

/// Every key, with diffusers' default. validate() says which combinations make a network.
struct UNetConfig {
  std::optional<std::vector<int>> sample_size;  // {H, W}; only what samplers make unless told otherwise
  int in_channels = 3, out_channels = 3;
  bool center_input_sample = false;                // x -> 2x - 1 in front of conv_in
  std::string time_embedding_type = "positional";  // positional | fourier | learned
  std::optional<int> time_embedding_dim;           // absent: 4 * block_out_channels[0]
  int freq_shift = 0;           // positional: f_i = exp(-ln(10000) i / (half - freq_shift))
  bool flip_sin_to_cos = true;  // positional: cosines first
  std::vector<std::string> down_block_types = {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D",
                                               "AttnDownBlock2D"};
  std::optional<std::string> mid_block_type = "UNetMidBlock2D";  // absent: no middle block
  std::vector<std::string> up_block_types = {"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"};
  std::vector<int> block_out_channels = {224, 448, 672, 896};
  int layers_per_block = 2;              // in down blocks; up blocks have one more
  double mid_block_scale_factor = 1;     // the middle block's outputs are divided by it
  int downsample_padding = 1;            // 1: symmetric; 0: one column right, one row at the bottom
  std::string downsample_type = "conv";  // of AttnDownBlock2D: conv | resnet
  std::string upsample_type = "conv";    // of AttnUpBlock2D: conv | resnet
  double dropout = 0;
  std::string act_fn = "silu";
  std::optional<int> attention_head_dim = 8;  // absent: one head
  int norm_num_groups = 32;
  std::optional<int> attn_norm_num_groups;  // of the middle block's attention
  double norm_eps = 1e-5;
  std::string resnet_time_scale_shift = "default";  // default | scale_shift
  bool add_attention = true;                        // in the middle block
  /// timestep | identity; absent: a table, if num_class_embeds is set.
  std::optional<std::string> class_embed_type;
  std::optional<int> num_class_embeds;
  std::optional<int> num_train_timesteps;  // rows of the learned time embedding
  /// The row of the class table that stands for "no class", where the model was trained with class dropout; a
  /// key that diffusers does not know.
  std::optional<int> imago_null_class;

  int levels() const { return static_cast<int>(block_out_channels.size()); }
  int time_width() const;  // E, the width of the time embedding
  int resolution_multiple() const { return 1 << (levels() - 1); }
  bool takes_class_labels() const { return class_embed_type.has_value() || num_class_embeds.has_value(); }

  /// Bad input, naming `source` and the key, where the values make no network or one that is not supported.
  void validate(const std::string& source) const;
  /// Bad input, naming `what` ("unet/config.json: sample_size"), unless H and W can be halved levels - 1
  /// times.
  void check_resolution(int64_t height, int64_t width, const std::string& what) const;

  /// The model that diffusers' train_unconditional.py trains when it is given no configuration: six levels of
  /// 128,128,256,256,512,512 channels, attention in the fifth (113.7 million parameters).
  static UNetConfig train_unconditional(int resolution, int channels = 3);

  bool operator==(const UNetConfig&) const = default;
};

/// Reads and validates. Keys that start with "_" are ignored, missing keys take the defaults; unknown keys
/// are added to `warnings`, one line each; wrong types and values are bad input that names file and key.
UNetConfig parse_unet_config(const nlohmann::json& object, const std::string& file,
                             std::vector<std::string>& warnings);
UNetConfig read_unet_config(const std::filesystem::path& file, std::vector<std::string>& warnings);

/// All keys, with _class_name and _diffusers_version.
nlohmann::json to_json(const UNetConfig& config);

/// What `_diffusers_version` says in files written here: the version that the tests compare with.
inline constexpr const char* kDiffusersVersion = "0.42.1";

}  // namespace imago

// What a ResNet classifier looks like: the keys of its config.json.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace imago {

/// Every key, with its default. validate() says which combinations make a network.
struct ResNetConfig {
  int sample_size = 32;                                // side of the square that images are brought to
  int in_channels = 3;                                 // 1 (grey) or 3
  std::vector<int> block_out_channels = {16, 48, 96};  // a level each; each but the first halves the image
  int layers_per_block = 1;                            // residual blocks a level
  int norm_num_groups = 8;
  double norm_eps = 1e-5;
  std::vector<std::string> class_names;  // what the outputs stand for; at least two

  int classes() const { return static_cast<int>(class_names.size()); }
  int feature_width() const { return block_out_channels.back(); }  // D, what the last layer reads

  /// Bad input, naming `source` and the key, where the values make no network.
  void validate(const std::string& source) const;

  bool operator==(const ResNetConfig&) const = default;
};

/// Reads and validates. Keys that start with "_" are ignored, missing keys take the defaults; unknown keys,
/// wrong types and values are bad input that names file and key. A file that is the configuration of
/// something else (its "_class_name" says so) is bad input, too. class_names may be missing where
/// `without_classes`: a network that is still to be trained gets those of the data.
ResNetConfig parse_resnet_config(const nlohmann::json& object, const std::string& file,
                                 bool without_classes = false);

/// All keys, with _class_name.
nlohmann::json to_json(const ResNetConfig& config);

}  // namespace imago

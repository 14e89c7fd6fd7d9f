// unet/config.json: defaults, known models, and every way to get it wrong.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "engine/tensor/allocator.h"
#include "models/unet/unet.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

using nlohmann::json;

UNetConfig parse(const json& object) {
  std::vector<std::string> warnings;
  UNetConfig config = parse_unet_config(object, "config.json", warnings);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  return config;
}

std::vector<std::string> blocks(const std::string& kind, int levels, std::initializer_list<int> attending) {
  std::vector<std::string> list(static_cast<size_t>(levels), kind);
  for (const int i : attending) list[i] = "Attn" + kind;
  return list;
}

json model(std::vector<int> channels, std::initializer_list<int> down, std::initializer_list<int> up) {
  const int levels = static_cast<int>(channels.size());
  return {{"block_out_channels", channels},
          {"down_block_types", blocks("DownBlock2D", levels, down)},
          {"up_block_types", blocks("UpBlock2D", levels, up)}};
}

json google_style(json config) {
  config.update({{"attention_head_dim", nullptr},
                 {"downsample_padding", 0},
                 {"flip_sin_to_cos", false},
                 {"freq_shift", 1},
                 {"norm_eps", 1e-6}});
  return config;
}

struct Known {
  const char* name;
  json config;
  int64_t parameters;
  int tensors;
};

// The class that stands for none: a key of our own, written only where it is set.
TEST(UNetConfig, NullClassIsARowOfTheTable) {
  const UNetConfig c = parse({{"num_class_embeds", 11}, {"imago_null_class", 10}});
  EXPECT_EQ(c.imago_null_class, 10);
  EXPECT_EQ(parse(to_json(c)), c);
  EXPECT_FALSE(to_json(UNetConfig()).contains("imago_null_class"));
  EXPECT_THROW(parse({{"num_class_embeds", 11}, {"imago_null_class", 11}}), Error);
  EXPECT_THROW(parse({{"imago_null_class", 0}}), Error);
}

TEST(UNetConfig, KnownModelsHaveTheirParameterCounts) {
  const std::vector<int> large = {128, 128, 256, 256, 512, 512};
  const Known known[] = {
      {"google/ddpm-cifar10-32", google_style(model({128, 256, 256, 256}, {1}, {2})), 35'746'307, 328},
      {"google/ddpm-celebahq-256", google_style(model(large, {4}, {1})), 113'673'219, 450},
      {"train_unconditional.py", model(large, {4}, {1}), 113'673'219, 450},
      {"butterflies-32", model({64, 128, 128, 256}, {2, 3}, {0, 1}), 18'536'323, 380},
  };
  const int64_t in_use = allocator_of(Device::kCpu).stats().bytes_in_use;
  for (const Known& k : known) {
    UNet unet(parse(k.config));
    int tensors = 0;
    unet.for_each_parameter([&](const std::string&, Parameter&) { ++tensors; });
    EXPECT_EQ(unet.parameter_count(), k.parameters) << k.name;
    EXPECT_EQ(tensors, k.tensors) << k.name;
  }
  EXPECT_EQ(allocator_of(Device::kCpu).stats().bytes_in_use, in_use)
      << "a U-Net without weights takes no memory";
}

TEST(UNetConfig, TrainUnconditionalIsThatModel) {
  json expected = model({128, 128, 256, 256, 512, 512}, {4}, {1});
  expected["sample_size"] = 64;
  EXPECT_EQ(UNetConfig::train_unconditional(64), parse(expected));
}

TEST(UNetConfig, DefaultsAreThoseOfDiffusers) {
  const json theirs = read_json(golden::folder() / "defaults.json").at("UNet2DModel");
  json ours = to_json(parse(json::object()));
  EXPECT_EQ(ours.at("_class_name"), "UNet2DModel");
  std::erase_if(ours.get_ref<json::object_t&>(),
                [](const auto& item) { return item.first.starts_with("_"); });
  EXPECT_EQ(ours, theirs);
}

TEST(UNetConfig, WritesWhatItRead) {
  const json file = read_json(golden::folder() / "pipeline" / "unet" / "config.json");
  EXPECT_EQ(to_json(parse(file)), file);
  UNetConfig c = UNetConfig::train_unconditional(32);
  c.sample_size = {{64, 32}};
  c.class_embed_type = "timestep";
  c.attention_head_dim.reset();
  c.mid_block_type.reset();
  EXPECT_EQ(parse(to_json(c)), c);
}

TEST(UNetConfig, KeysOfOthers) {
  std::vector<std::string> warnings;
  const json object = {
      {"_diffusers_version", "0.1"}, {"mystery", 1}, {"layers_per_block", 3}, {"act_fn", "swish"}};
  const UNetConfig c = parse_unet_config(object, "a/config.json", warnings);
  EXPECT_EQ(c.layers_per_block, 3);
  EXPECT_EQ(c.act_fn, "silu");
  EXPECT_EQ(warnings, std::vector<std::string>{"a/config.json: mystery: unknown key, ignored"});
  // Keys that diffusers lists here were not chosen by anyone.
  EXPECT_EQ(parse({{"_use_default_values", {"layers_per_block"}}, {"layers_per_block", 7}}).layers_per_block,
            2);
  // The names of the first releases.
  const UNetConfig old = parse({{"block_out_channels", {32, 32}},
                                {"down_block_types", {"UNetResDownBlock2D", "UNetResAttnDownBlock2D"}},
                                {"up_block_types", {"UNetResAttnUpBlock2D", "UNetResUpBlock2D"}}});
  EXPECT_EQ(old.down_block_types, (std::vector<std::string>{"DownBlock2D", "AttnDownBlock2D"}));
  EXPECT_EQ(old.up_block_types, (std::vector<std::string>{"AttnUpBlock2D", "UpBlock2D"}));
}

struct Wrong {
  json patch;
  const char* message;  // all of it behind "config.json: "
};

TEST(UNetConfig, WrongValuesNameFileAndKey) {
  const Wrong wrong[] = {
      {{{"layers_per_block", "two"}}, "layers_per_block: expected a whole number, not \"two\""},
      {{{"layers_per_block", 1.5}}, "layers_per_block: expected a whole number, not 1.5"},
      {{{"layers_per_block", 0}}, "layers_per_block: expected at least 1, not 0"},
      {{{"layers_per_block", nullptr}}, "layers_per_block: expected a whole number, not null"},
      {{{"in_channels", -1}}, "in_channels: expected at least 1, not -1"},
      {{{"flip_sin_to_cos", 1}}, "flip_sin_to_cos: expected true or false, not 1"},
      {{{"block_out_channels", 64}}, "block_out_channels: expected a list of whole numbers, not 64"},
      {{{"block_out_channels", {64, 64, 64}}},
       "down_block_types: expected 3 blocks, one for each of block_out_channels, not 4"},
      {{{"block_out_channels", {64, 64, 64, 48}}},
       "block_out_channels: 48 channels do not divide into 32 groups (norm_num_groups)"},
      {{{"up_block_types", {"UpBlock2D"}}},
       "up_block_types: expected 4 blocks, one for each of block_out_channels, not 1"},
      {{{"down_block_types", {"DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"}}},
       "down_block_types: \"CrossAttnDownBlock2D\" is not supported (supported: DownBlock2D, "
       "AttnDownBlock2D, "
       "ResnetDownsampleBlock2D)"},
      {{{"mid_block_type", "UNetMidBlock2DCrossAttn"}},
       "mid_block_type: \"UNetMidBlock2DCrossAttn\" is not supported (supported: UNetMidBlock2D)"},
      {{{"act_fn", "gelu"}}, "act_fn: \"gelu\" is not supported (supported: silu, swish)"},
      {{{"resnet_time_scale_shift", "spatial"}},
       "resnet_time_scale_shift: \"spatial\" is not supported (supported: default, scale_shift)"},
      {{{"time_embedding_type", "random"}},
       "time_embedding_type: \"random\" is not supported (supported: positional, fourier, learned)"},
      {{{"time_embedding_type", "learned"}},
       "num_train_timesteps: time_embedding_type \"learned\" needs it: the rows of the table"},
      {{{"class_embed_type", "projection"}},
       "class_embed_type: \"projection\" is not supported (supported: timestep, identity)"},
      {{{"sample_size", 36}},
       "sample_size: 36 x 36 cannot be halved 3 times: expected multiples of 8 for 4 levels"},
      {{{"sample_size", {32, 32, 3}}},
       "sample_size: expected a whole number, a pair [height, width] or null, not [32,32,3]"},
      {{{"sample_size", "big"}}, "sample_size: expected a whole number, not \"big\""},
      {{{"norm_num_groups", 0}}, "norm_num_groups: expected at least 1, not 0"},
      {{{"attn_norm_num_groups", 5}}, "attn_norm_num_groups: 896 channels do not divide into 5 groups"},
      {{{"attention_head_dim", 512}},
       "attention_head_dim: a head of 512 channels does not fit into a block of 448"},
      {{{"attention_head_dim", 0}}, "attention_head_dim: expected at least 1, not 0"},
      {{{"downsample_padding", 2}}, "downsample_padding: 2 is not supported (supported: 0, 1)"},
      {{{"downsample_type", "fir"}}, "downsample_type: \"fir\" is not supported (supported: conv, resnet)"},
      {{{"freq_shift", 112}}, "freq_shift: expected less than 112 (block_out_channels[0] / 2), not 112"},
      {{{"dropout", 1}}, "dropout: expected at least 0 and less than 1, not 1"},
      {{{"norm_eps", 0}}, "norm_eps: expected more than 0, not 0"},
      {{{"mid_block_scale_factor", 0}}, "mid_block_scale_factor: expected anything but 0"},
      {{{"_class_name", "UNet2DConditionModel"}},
       "_class_name: \"UNet2DConditionModel\" is not supported (supported: UNet2DModel)"},
  };
  for (const Wrong& w : wrong) {
    try {
      parse(w.patch);
      ADD_FAILURE() << w.patch << " was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.fault, Fault::kBadInput);
      EXPECT_EQ(e.what(), std::string("config.json: ") + w.message);
    }
  }
  EXPECT_THROW(parse(json::array()), Error);
}

TEST(UNetConfig, ResolutionsThatCannotBeHalved) {
  const UNetConfig c;  // four levels
  EXPECT_NO_THROW(c.check_resolution(64, 40, "the size"));
  try {
    c.check_resolution(64, 44, "the size");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "the size: 64 x 44 cannot be halved 3 times: expected multiples of 8 for 4 levels");
  }
  EXPECT_THROW(c.check_resolution(0, 64, "the size"), Error);
}

}  // namespace
}  // namespace imago

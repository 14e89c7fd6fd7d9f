#include "models/unet/config.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "kernels/error.h"
#include "models/json_fields.h"

namespace imago {

using nlohmann::json;

namespace {

// The one list of keys, for reading and for writing. sample_size has two forms and is treated apart.
template <class Config, class Visit>
void for_each_key(Config& c, Visit visit) {
  visit("in_channels", c.in_channels);
  visit("out_channels", c.out_channels);
  visit("center_input_sample", c.center_input_sample);
  visit("time_embedding_type", c.time_embedding_type);
  visit("time_embedding_dim", c.time_embedding_dim);
  visit("freq_shift", c.freq_shift);
  visit("flip_sin_to_cos", c.flip_sin_to_cos);
  visit("down_block_types", c.down_block_types);
  visit("mid_block_type", c.mid_block_type);
  visit("up_block_types", c.up_block_types);
  visit("block_out_channels", c.block_out_channels);
  visit("layers_per_block", c.layers_per_block);
  visit("mid_block_scale_factor", c.mid_block_scale_factor);
  visit("downsample_padding", c.downsample_padding);
  visit("downsample_type", c.downsample_type);
  visit("upsample_type", c.upsample_type);
  visit("dropout", c.dropout);
  visit("act_fn", c.act_fn);
  visit("attention_head_dim", c.attention_head_dim);
  visit("norm_num_groups", c.norm_num_groups);
  visit("attn_norm_num_groups", c.attn_norm_num_groups);
  visit("norm_eps", c.norm_eps);
  visit("resnet_time_scale_shift", c.resnet_time_scale_shift);
  visit("add_attention", c.add_attention);
  visit("class_embed_type", c.class_embed_type);
  visit("num_class_embeds", c.num_class_embeds);
  visit("num_train_timesteps", c.num_train_timesteps);
}

void read_sample_size(JsonFields& fields, std::optional<std::vector<int>>& size) {
  const json* found = fields.find("sample_size");
  if (!found || found->is_null()) {
    size.reset();
  } else if (found->is_array()) {
    std::vector<int> pair;
    fields.read("sample_size", pair);
    if (pair.size() != 2) fields.refuse("sample_size", "a whole number, a pair [height, width] or null");
    size = pair;
  } else {
    int side = 0;
    fields.read("sample_size", side);
    size = {{side, side}};
  }
}

// Old files call the blocks UNetResDownBlock2D and so on.
void drop_old_prefix(std::vector<std::string>& types) {
  for (std::string& type : types)
    if (type.starts_with("UNetRes")) type.erase(0, 7);
}

// The old configurations of google/ddpm-* say "swish", which is another name of SiLU.
void normalise(UNetConfig& c) {
  drop_old_prefix(c.down_block_types);
  drop_old_prefix(c.up_block_types);
  if (c.act_fn == "swish") c.act_fn = "silu";
}

struct Checker {
  const UNetConfig& c;
  const std::string& source;

  template <class... Parts>
  void need(bool ok, const char* key, const Parts&... parts) const {
    if (!ok) bad_input(source, ": ", key, ": ", parts...);
  }
  void at_least(const char* key, int value, int least) const {
    need(value >= least, key, "expected at least ", least, ", not ", value);
  }

  void names() const {
    require_supported(source, "time_embedding_type", c.time_embedding_type,
                      {"positional", "fourier", "learned"});
    for (const std::string& type : c.down_block_types)
      require_supported(source, "down_block_types", type,
                        {"DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"});
    for (const std::string& type : c.up_block_types)
      require_supported(source, "up_block_types", type,
                        {"UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"});
    if (c.mid_block_type) require_supported(source, "mid_block_type", *c.mid_block_type, {"UNetMidBlock2D"});
    require_supported(source, "downsample_type", c.downsample_type, {"conv", "resnet"});
    require_supported(source, "upsample_type", c.upsample_type, {"conv", "resnet"});
    require_supported(source, "act_fn", c.act_fn, {"silu", "swish"});
    require_supported(source, "resnet_time_scale_shift", c.resnet_time_scale_shift,
                      {"default", "scale_shift"});
    if (c.class_embed_type)
      require_supported(source, "class_embed_type", *c.class_embed_type, {"timestep", "identity"});
  }

  void levels() const {
    const size_t n = c.block_out_channels.size();
    need(n >= 1 && n <= 16, "block_out_channels", "expected 1 to 16 levels, not ", n);
    need(c.down_block_types.size() == n, "down_block_types", "expected ", n,
         " blocks, one for each of block_out_channels, not ", c.down_block_types.size());
    need(c.up_block_types.size() == n, "up_block_types", "expected ", n,
         " blocks, one for each of block_out_channels, not ", c.up_block_types.size());
    if (!c.sample_size) return;
    need(c.sample_size->size() == 2, "sample_size", "expected height and width");
    c.check_resolution((*c.sample_size)[0], (*c.sample_size)[1], source + ": sample_size");
  }

  void channels() const {
    at_least("in_channels", c.in_channels, 1);
    at_least("out_channels", c.out_channels, 1);
    at_least("norm_num_groups", c.norm_num_groups, 1);
    for (int channels : c.block_out_channels) {
      at_least("block_out_channels", channels, 1);
      need(channels % c.norm_num_groups == 0, "block_out_channels", channels, " channels do not divide into ",
           c.norm_num_groups, " groups (norm_num_groups)");
    }
    if (!c.attn_norm_num_groups) return;
    at_least("attn_norm_num_groups", *c.attn_norm_num_groups, 1);
    need(c.block_out_channels.back() % *c.attn_norm_num_groups == 0, "attn_norm_num_groups",
         c.block_out_channels.back(), " channels do not divide into ", *c.attn_norm_num_groups, " groups");
  }

  void heads() const {
    if (!c.attention_head_dim) return;
    at_least("attention_head_dim", *c.attention_head_dim, 1);
    const auto fits = [&](bool attends, int channels) {
      need(!attends || channels >= *c.attention_head_dim, "attention_head_dim", "a head of ",
           *c.attention_head_dim, " channels does not fit into a block of ", channels);
    };
    const int n = c.levels();
    for (int i = 0; i < n; ++i) {
      fits(c.down_block_types[i] == "AttnDownBlock2D", c.block_out_channels[i]);
      fits(c.up_block_types[i] == "AttnUpBlock2D", c.block_out_channels[n - 1 - i]);
    }
    fits(c.mid_block_type && c.add_attention, c.block_out_channels.back());
  }

  void embeddings() const {
    if (c.time_embedding_dim) at_least("time_embedding_dim", *c.time_embedding_dim, 1);
    const int half = c.block_out_channels[0] / 2;
    if (c.time_embedding_type == "positional")
      need(half > c.freq_shift, "freq_shift", "expected less than ", half,
           " (block_out_channels[0] / 2), not ", c.freq_shift);
    need(c.time_embedding_type != "learned" || c.num_train_timesteps, "num_train_timesteps",
         "time_embedding_type \"learned\" needs it: the rows of the table");
    if (c.num_train_timesteps) at_least("num_train_timesteps", *c.num_train_timesteps, 1);
    if (c.num_class_embeds) at_least("num_class_embeds", *c.num_class_embeds, 1);
    if (!c.imago_null_class) return;
    const int rows = c.class_embed_type ? 0 : c.num_class_embeds.value_or(0);
    need(*c.imago_null_class >= 0 && *c.imago_null_class < rows, "imago_null_class", "expected one of the ",
         rows, " rows of the class table (num_class_embeds), not ", *c.imago_null_class);
  }

  void numbers() const {
    at_least("layers_per_block", c.layers_per_block, 1);
    need(c.mid_block_scale_factor != 0, "mid_block_scale_factor", "expected anything but 0");
    need(c.downsample_padding == 0 || c.downsample_padding == 1, "downsample_padding", c.downsample_padding,
         " is not supported (supported: 0, 1)");
    need(c.dropout >= 0 && c.dropout < 1, "dropout", "expected at least 0 and less than 1, not ", c.dropout);
    need(c.norm_eps > 0, "norm_eps", "expected more than 0, not ", c.norm_eps);
  }
};

}  // namespace

int UNetConfig::time_width() const {
  return time_embedding_dim.value_or(4 * block_out_channels.at(0));
}

void UNetConfig::validate(const std::string& source) const {
  const Checker check{*this, source};
  check.names();
  check.levels();
  check.channels();
  check.heads();
  check.embeddings();
  check.numbers();
}

void UNetConfig::check_resolution(int64_t height, int64_t width, const std::string& what) const {
  const int m = resolution_multiple();
  if (height < m || width < m || height % m != 0 || width % m != 0)
    bad_input(what, ": ", height, " x ", width, " cannot be halved ", levels() - 1,
              " times: expected multiples of ", m, " for ", levels(), " levels");
}

UNetConfig UNetConfig::train_unconditional(int resolution, int channels) {
  UNetConfig c;
  c.sample_size = {{resolution, resolution}};
  c.in_channels = c.out_channels = channels;
  c.block_out_channels = {128, 128, 256, 256, 512, 512};
  c.down_block_types.assign(6, "DownBlock2D");
  c.up_block_types.assign(6, "UpBlock2D");
  c.down_block_types[4] = "AttnDownBlock2D";
  c.up_block_types[1] = "AttnUpBlock2D";
  return c;
}

UNetConfig parse_unet_config(const json& object, const std::string& file,
                             std::vector<std::string>& warnings) {
  JsonFields fields(object, file);
  if (const auto at = object.find("_class_name"); at != object.end() && *at != "UNet2DModel")
    bad_input(file, ": _class_name: ", at->dump(), " is not supported (supported: UNet2DModel)");
  UNetConfig c;
  read_sample_size(fields, c.sample_size);
  for_each_key(c, [&](const char* key, auto& value) { fields.read(key, value); });
  fields.read("imago_null_class", c.imago_null_class);
  normalise(c);
  for (std::string& warning : fields.unknown_keys()) warnings.push_back(std::move(warning));
  c.validate(file);
  return c;
}

UNetConfig read_unet_config(const std::filesystem::path& file, std::vector<std::string>& warnings) {
  return parse_unet_config(read_json(file), file.string(), warnings);
}

json to_json(const UNetConfig& config) {
  json out = {{"_class_name", "UNet2DModel"}, {"_diffusers_version", kDiffusersVersion}};
  const auto put = [&out]<class T>(const char* key, const T& value) { out[key] = value; };
  const auto put_any = [&]<class T>(const char* key, const T& value) {
    if constexpr (requires { value.has_value(); })
      value ? put(key, *value) : put(key, nullptr);
    else
      put(key, value);
  };
  for_each_key(config, put_any);
  if (config.imago_null_class) put("imago_null_class", *config.imago_null_class);
  if (!config.sample_size)
    out["sample_size"] = nullptr;
  else if ((*config.sample_size)[0] == (*config.sample_size)[1])
    out["sample_size"] = (*config.sample_size)[0];
  else
    out["sample_size"] = *config.sample_size;
  return out;
}

}  // namespace imago

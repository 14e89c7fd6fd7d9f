#include "models/resnet/classifier.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/autograd/tape.h"
#include "engine/data/loader.h"
#include "engine/image/resize.h"
#include "engine/io/json.h"
#include "models/pixels.h"
#include "models/weights.h"

namespace imago {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
constexpr int kBatch = 128;  // images that are evaluated together

Classified most_probable(const float* logits, int classes) {
  const float* largest = std::max_element(logits, logits + classes);
  double sum = 0;
  for (int k = 0; k < classes; ++k) sum += std::exp(static_cast<double>(logits[k]) - *largest);
  return {static_cast<int32_t>(largest - logits), static_cast<float>(1 / sum)};
}

ResNetConfig read_config(const fs::path& folder) {
  if (!fs::is_directory(folder)) bad_input(folder.string(), ": no such folder: expected a classifier");
  for (const char* file : {kConfig, kWeights})
    if (!fs::exists(folder / file)) bad_input(folder.string(), ": not a classifier: it has no ", file);
  return parse_resnet_config(read_json(folder / kConfig), (folder / kConfig).string());
}

}  // namespace

std::vector<int32_t> classes_of(const Dataset& set, const ResNetConfig& config) {
  if (set.class_names().empty()) bad_input(set.description(), ": has no classes");
  std::vector<int32_t> classes;
  for (const std::string& name : set.class_names()) {
    const auto at = std::find(config.class_names.begin(), config.class_names.end(), name);
    if (at == config.class_names.end())
      bad_input(set.description(), ": the classifier knows no class \"", name, '"');
    classes.push_back(static_cast<int32_t>(at - config.class_names.begin()));
  }
  for (int64_t i = 0; i < set.size(); ++i)
    if (set.label(i) < 0) bad_input(set.name(i), ": has no class");
  return classes;
}

std::vector<Classified> classify(ResNet& network, const Tensor& images) {
  const NoGrad no_grad;
  const auto logits = to_vector<float>(network.logits(network.features(images)));  // [N,classes]
  const int classes = network.config().classes();
  std::vector<Classified> answers;
  for (int64_t n = 0; n < images.dim(0); ++n) answers.push_back(most_probable(&logits[n * classes], classes));
  return answers;
}

ConfusionMatrix evaluate_classifier(ResNet& network, Device device,
                                    const std::shared_ptr<const Dataset>& set) {
  const ResNetConfig& c = network.config();
  const std::vector<int32_t> classes = classes_of(*set, c);
  LoaderOptions options{.batch_size = kBatch, .height = c.sample_size, .width = c.sample_size};
  options.channels = c.in_channels;
  options.shuffle = options.drop_last = false;
  options.center_crop = true;
  std::vector<uint8_t> pixels(kBatch * options.image_bytes());
  std::vector<int64_t> ids(kBatch);
  std::vector<int32_t> labels(kBatch);
  BatchLoader loader(set, options, {{.images = pixels, .ids = ids, .labels = labels}});
  ConfusionMatrix confusion(c.class_names);
  for (int64_t b = 0; b < loader.batches_per_epoch(); ++b) {
    const Batch& batch = loader.next();
    const Shape shape{batch.size, c.sample_size, c.sample_size, c.in_channels};
    const Tensor images =
        from_pixels(from_host(batch.images.data(), shape, DType::kUInt8, device));  // [N,S,S,C]
    const std::vector<Classified> answers = classify(network, images);
    for (size_t n = 0; n < answers.size(); ++n)
      confusion.add(classes[static_cast<size_t>(batch.labels[n])], answers[n].label);
  }
  return confusion;
}

Classifier::Classifier(const fs::path& folder, Device device)
    : device_(device), network_(std::make_unique<ResNet>(read_config(folder))) {
  parameters_ = std::make_unique<FlatParameters>(
      *network_, FlatParameters::Options{.device = device, .gradients = false});
  load_weights(folder / kWeights, *parameters_, parameters_->values());
}

Tensor Classifier::brought_to_size(const Tensor& images) const {
  const ResNetConfig& c = config();
  const auto height = static_cast<int>(images.dim(1)), width = static_cast<int>(images.dim(2)),
             channels = static_cast<int>(images.dim(3));
  const std::vector<uint8_t> pixels = to_pixels(images);  // [N,H,W,C]
  const auto bytes = static_cast<std::ptrdiff_t>(height) * width * channels;
  std::vector<uint8_t> fitting;  // [N,S,S,in_channels]
  for (auto at = pixels.begin(); at != pixels.end(); at += bytes) {
    const Image image = with_channels({height, width, channels, {at, at + bytes}}, c.in_channels);
    const Image square = resize_and_crop(image, c.sample_size, c.sample_size);
    fitting.insert(fitting.end(), square.pixels.begin(), square.pixels.end());
  }
  return from_pixels(
      from_vector(fitting, {images.dim(0), c.sample_size, c.sample_size, c.in_channels}, device_));
}

std::vector<Classified> Classifier::classify(const Tensor& images) const {
  return imago::classify(*network_, brought_to_size(images));
}

Tensor Classifier::features(const Tensor& images) const {
  const NoGrad no_grad;
  return network_->features(brought_to_size(images));  // [N,D]
}

ConfusionMatrix Classifier::evaluate(const std::shared_ptr<const Dataset>& set) const {
  return evaluate_classifier(*network_, device_, set);
}

void write_classifier(const fs::path& folder, const ResNetConfig& config, const FlatParameters& parameters) {
  write_json(folder / kConfig, to_json(config));
  save_weights(folder / kWeights, parameters, parameters.values());
}

}  // namespace imago

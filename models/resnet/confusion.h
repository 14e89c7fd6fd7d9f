// How a classifier does on images whose classes are known.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace imago {

/// Counts of (class, what was taken for).
class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(std::vector<std::string> class_names);

  void add(int32_t label, int32_t predicted);
  int64_t count(int32_t label, int32_t predicted) const;
  int64_t total() const;
  /// The share of all images that were taken for what they are; NaN of none.
  double accuracy() const;
  /// The share of the images of a class that were taken for it; NaN where there are none.
  double recall(int32_t label) const;

  /// {"accuracy", "images", "classes": [names], "recall": [a share a class, null without images],
  /// "confusion": [a row a class, a column for what was taken for]}.
  nlohmann::json to_json() const;

 private:
  std::vector<std::string> names_;
  std::vector<int64_t> counts_;  // [classes, classes]: rows are what the images are
};

}  // namespace imago

#include "models/resnet/confusion.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/error.h"

namespace imago {

using nlohmann::json;

ConfusionMatrix::ConfusionMatrix(std::vector<std::string> class_names)
    : names_(std::move(class_names)), counts_(names_.size() * names_.size()) {}

void ConfusionMatrix::add(int32_t label, int32_t predicted) {
  const auto classes = static_cast<int32_t>(names_.size());
  check(label >= 0 && label < classes && predicted >= 0 && predicted < classes, "confusion matrix: class ",
        label, " taken for ", predicted, " of ", classes);
  ++counts_[static_cast<size_t>(label) * names_.size() + static_cast<size_t>(predicted)];
}

int64_t ConfusionMatrix::count(int32_t label, int32_t predicted) const {
  return counts_.at(static_cast<size_t>(label) * names_.size() + static_cast<size_t>(predicted));
}

int64_t ConfusionMatrix::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
}

double ConfusionMatrix::accuracy() const {
  int64_t right = 0;
  for (int32_t k = 0; k < static_cast<int32_t>(names_.size()); ++k) right += count(k, k);
  return static_cast<double>(right) / static_cast<double>(total());
}

double ConfusionMatrix::recall(int32_t label) const {
  const auto row =
      counts_.begin() + static_cast<std::ptrdiff_t>(label) * static_cast<std::ptrdiff_t>(names_.size());
  const int64_t images = std::accumulate(row, row + static_cast<std::ptrdiff_t>(names_.size()), int64_t{0});
  return static_cast<double>(count(label, label)) / static_cast<double>(images);
}

json ConfusionMatrix::to_json() const {
  json recalls = json::array(), rows = json::array();
  for (int32_t k = 0; k < static_cast<int32_t>(names_.size()); ++k) {
    const double r = recall(k);
    recalls.push_back(std::isnan(r) ? json() : json(r));
    json row = json::array();
    for (int32_t j = 0; j < static_cast<int32_t>(names_.size()); ++j) row.push_back(count(k, j));
    rows.push_back(row);
  }
  return {{"accuracy", total() > 0 ? json(accuracy()) : json()},
          {"images", total()},
          {"classes", names_},
          {"recall", recalls},
          {"confusion", rows}};
}

}  // namespace imago

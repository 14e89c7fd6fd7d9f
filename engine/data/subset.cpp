#include "engine/data/subset.h"

#include <algorithm>
#include <cmath>

#include "engine/data/loader.h"
#include "kernels/error.h"

namespace imago {

namespace {

class Subset : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> set, std::vector<int64_t> indices)
      : set_(std::move(set)), indices_(std::move(indices)) {
    set_broken_images(set_->broken_images());
  }
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  Image image(int64_t i) const override { return set_->image(whole(i)); }
  int32_t label(int64_t i) const override { return set_->label(whole(i)); }
  const std::vector<std::string>& class_names() const override { return set_->class_names(); }
  std::string name(int64_t i) const override { return set_->name(whole(i)); }
  std::string description() const override { return str(size(), " of ", set_->description()); }

 private:
  int64_t whole(int64_t i) const { return indices_[static_cast<size_t>(i)]; }

  std::shared_ptr<const Dataset> set_;
  std::vector<int64_t> indices_;  // in set_
};

}  // namespace

std::shared_ptr<const Dataset> subset_of(std::shared_ptr<const Dataset> set, std::vector<int64_t> indices) {
  for (const int64_t i : indices)
    check(i >= 0 && i < set->size(), "subset: image ", i, " of a set of ", set->size());
  return std::make_shared<Subset>(std::move(set), std::move(indices));
}

HeldOut hold_out(const std::shared_ptr<const Dataset>& set, double share, uint64_t seed) {
  const int64_t size = set->size();
  if (size < 2) bad_input(set->description(), ": expected two images or more, to hold one out");
  const auto count = std::clamp<int64_t>(std::llround(share * static_cast<double>(size)), 1, size - 1);
  std::vector<uint32_t> order(static_cast<size_t>(size));
  shuffled_order(seed, 0, order);
  const auto part = [&](int64_t begin, int64_t end) {
    std::vector<int64_t> indices(order.begin() + begin, order.begin() + end);
    std::sort(indices.begin(), indices.end());
    return subset_of(set, std::move(indices));
  };
  return {.kept = part(count, size), .held_out = part(0, count)};
}

}  // namespace imago

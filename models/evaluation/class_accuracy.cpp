#include "models/evaluation/class_accuracy.h"

#include <algorithm>

#include "kernels/error.h"
#include "models/pixels.h"

namespace imago {

double class_accuracy(const Classifier& classifier, const ImageSet& images, Device device, int batch_size,
                      const std::function<void(int64_t images)>& done) {
  check(static_cast<int64_t>(images.labels.size()) == images.count() && images.count() > 0,
        "class_accuracy: images without classes");
  int64_t right = 0;
  for (int64_t first = 0; first < images.count(); first += batch_size) {
    const int64_t count = std::min<int64_t>(batch_size, images.count() - first);
    const auto said = classifier.classify(from_pixels(images.tensor(first, count, device)));
    for (int64_t i = 0; i < count; ++i)
      right += said[static_cast<size_t>(i)].label == images.labels[static_cast<size_t>(first + i)];
    done(count);
  }
  return static_cast<double>(right) / static_cast<double>(images.count());
}

}  // namespace imago

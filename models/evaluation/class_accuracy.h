// Whether samples are of the class that they were asked to be, as a classifier sees it.
#pragma once

#include <functional>

#include "models/evaluation/image_set.h"
#include "models/resnet/classifier.h"

namespace imago {

/// The share of the images that the classifier takes for their class. Labels are the classifier's own
/// numbers. `done` is called after each batch, with its number of images. It may throw to stop.
double class_accuracy(const Classifier& classifier, const ImageSet& images, Device device, int batch_size,
                      const std::function<void(int64_t images)>& done);

}  // namespace imago

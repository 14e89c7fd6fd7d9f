#include "apps/common/event_log.h"

#include <cmath>

#include "engine/image/png.h"

namespace imago {

void EventLog::write(const MetricsRow& row) {
  const auto measured = [&](const char* tag, double value) {
    if (!std::isnan(value)) events_.scalar(tag, row.step, static_cast<float>(value));
  };
  measured("loss", row.loss);
  measured("lr", row.learning_rate);
  measured("ema_decay", row.ema_decay);
  measured("grad_norm", row.grad_norm);
  constexpr const char* kQuarters[] = {"loss_q1", "loss_q2", "loss_q3", "loss_q4"};
  for (size_t q = 0; q < 4; ++q) measured(kQuarters[q], row.loss_by_quartile[q]);
}

void EventLog::write(int64_t step, const Image& samples) {
  const std::string png = encode_png(samples.pixels, samples.height, samples.width, samples.channels);
  events_.image("test_samples", step, png, samples.width, samples.height, samples.channels);
}

}  // namespace imago

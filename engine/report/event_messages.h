// The messages of TensorBoard's event files, as bytes of Protocol Buffers.
// Sources: https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto (event.proto,
// summary.proto) and https://protobuf.dev/programming-guides/encoding/
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace imago {

/// Event{wall_time, file_version: "brain.Event:2"}, which every file begins with.
std::string file_version_event(double wall_time);

/// Event{wall_time, step, session_log: {status: START}}: TensorBoard then discards what older files of the
/// same folder say about this step and later ones.
std::string session_start_event(double wall_time, int64_t step);

/// Event{wall_time, step, summary: {value: [{tag, simple_value}]}}
std::string scalar_event(double wall_time, int64_t step, std::string_view tag, float value);

/// An encoded image and what TensorBoard shows of it.
struct EventImage {
  std::string_view png;
  int height = 0, width = 0;
  int channels = 3;  // "colorspace": 1 grey, 3 RGB, 4 RGBA
};

/// Event{wall_time, step, summary: {value: [{tag, image: {height, width, colorspace,
/// encoded_image_string}}]}}
std::string image_event(double wall_time, int64_t step, std::string_view tag, const EventImage& image);

}  // namespace imago

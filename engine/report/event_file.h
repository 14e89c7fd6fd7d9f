// TensorBoard event files: curves and images of a run, for `tensorboard --logdir`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace imago {

/// A record of the TFRecord format:
///   8 bytes   n, length of the data     4 bytes   m(crc of the length's bytes)
///   n bytes   data                      4 bytes   m(crc of the data)
/// all little-endian; crc is CRC-32C, and m(c) = (c rotated right by 15 bits) + 0xa282ead8 modulo 2^32.
/// Source: https://www.tensorflow.org/tutorials/load_data/tfrecord
std::string tf_record(std::string_view data);

/// Writes events.out.tfevents.SECONDS.HOST.PID.N into `folder`, which it makes if need be. Every event
/// reaches the file system at once (it survives the program, though not a power cut); a killed program leaves
/// at most one torn record at the end, which TensorBoard ignores.
///
/// A resumed run opens a new file in the same folder, whose name sorts behind those that are there:
/// TensorBoard reads them in that order. The file begins with a session start at `first_step`, so that steps
/// from there on count only as they are written now: first_step is the checkpoint's step + 1, or 0 for a new
/// run. Failure "PATH: cannot write: REASON".
class EventFileWriter {
 public:
  explicit EventFileWriter(const std::filesystem::path& folder, int64_t first_step = 0);
  EventFileWriter(const EventFileWriter&) = delete;
  EventFileWriter& operator=(const EventFileWriter&) = delete;
  ~EventFileWriter();

  /// A point of the curve `tag`. Not finite values are written as they are.
  void scalar(std::string_view tag, int64_t step, float value);
  /// A PNG of that size; channels: 1 grey, 3 RGB, 4 RGBA.
  void image(std::string_view tag, int64_t step, std::string_view png, int width, int height,
             int channels = 3);
  const std::filesystem::path& path() const { return path_; }

 private:
  [[noreturn]] void fail(int error) const;
  void write(std::string_view event);
  std::filesystem::path path_;
  int fd_ = -1;
  int64_t bytes_ = 0;  // of whole records
};

}  // namespace imago

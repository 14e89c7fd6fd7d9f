#include "engine/report/event_messages.h"

#include <bit>

namespace imago {
namespace {

// A message under construction: fields one after the other, each behind a varint of its number and kind.
class Message {
 public:
  // Like every encoder of proto3, leaves out what is zero.
  Message& integer(int field, int64_t value) {
    if (value == 0) return *this;
    tag(field, 0);
    varint(static_cast<uint64_t>(value));
    return *this;
  }
  Message& number(int field, double value) {
    tag(field, 1);
    fixed(std::bit_cast<uint64_t>(value), 8);
    return *this;
  }
  Message& number(int field, float value) {
    tag(field, 5);
    fixed(std::bit_cast<uint32_t>(value), 4);
    return *this;
  }
  Message& bytes(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    text_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return bytes(field, value.text_); }
  const std::string& text() const { return text_; }

 private:
  void tag(int field, int kind) { varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(kind)); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_.push_back(static_cast<char>(value | 0x80));
    text_.push_back(static_cast<char>(value));
  }
  void fixed(uint64_t value, int size) {
    for (int i = 0; i < size; ++i) text_.push_back(static_cast<char>(value >> 8 * i));
  }
  std::string text_;
};

// Numbers of the fields in event.proto and summary.proto.
namespace event {
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace session_log {
constexpr int kStatus = 1, kStart = 1;  // the second is a value of the enum
}
namespace summary {
constexpr int kValue = 1;
}
namespace value {
constexpr int kTag = 1, kSimpleValue = 2, kImage = 4;
}
namespace image {
constexpr int kHeight = 1, kWidth = 2, kColorspace = 3, kEncoded = 4;
}

Message event_at(double wall_time, int64_t step) {
  return Message().number(event::kWallTime, wall_time).integer(event::kStep, step);
}

std::string summary_event(double wall_time, int64_t step, const Message& value) {
  return event_at(wall_time, step).message(event::kSummary, Message().message(summary::kValue, value)).text();
}

}  // namespace

std::string file_version_event(double wall_time) {
  return event_at(wall_time, 0).bytes(event::kFileVersion, "brain.Event:2").text();
}

std::string session_start_event(double wall_time, int64_t step) {
  return event_at(wall_time, step)
      .message(event::kSessionLog, Message().integer(session_log::kStatus, session_log::kStart))
      .text();
}

std::string scalar_event(double wall_time, int64_t step, std::string_view tag, float number) {
  return summary_event(wall_time, step,
                       Message().bytes(value::kTag, tag).number(value::kSimpleValue, number));
}

std::string image_event(double wall_time, int64_t step, std::string_view tag, const EventImage& shown) {
  const Message content = Message()
                              .integer(image::kHeight, shown.height)
                              .integer(image::kWidth, shown.width)
                              .integer(image::kColorspace, shown.channels)
                              .bytes(image::kEncoded, shown.png);
  return summary_event(wall_time, step, Message().bytes(value::kTag, tag).message(value::kImage, content));
}

}  // namespace imago

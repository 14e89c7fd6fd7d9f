// Safetensors: round trips, the exact layout, every kind of lie a file can tell, and random damage.
#include "engine/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/io/atomic_file.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using test::expect_bad_input;
using test::expect_error;
using test::get;
using test::put;
using test::TempFolder;

template <class T>
ConstTensorRef ref(const std::vector<T>& values, const Shape& shape) {
  return {values.data(), dtype_of<T>, shape};
}

std::string with_length(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

TEST(Safetensors, RoundTripOfEveryType) {
  TempFolder folder;
  const std::vector<uint8_t> bytes = {1, 2, 255};
  const std::vector<float> floats = {1.5f, -0.0f, std::numeric_limits<float>::infinity(), 3e-42f, 5, 6};
  const std::vector<bf16> halves = {bf16(1.0f), bf16(-3.5f)};
  const std::vector<double> doubles = {0.1, 1e300};
  const std::vector<int32_t> ints = {-1, 7};
  const std::vector<int64_t> longs = {int64_t{1} << 60, -5};
  const std::vector<float> nothing;
  const std::vector<NamedTensor> tensors = {{"bytes", ref(bytes, {3})},
                                            {"floats \"\u00fc\"", ref(floats, {2, 3})},
                                            {"halves", ref(halves, {2, 1})},
                                            {"doubles", ref(doubles, {2})},
                                            {"ints", ref(ints, {1, 2})},
                                            {"longs", ref(longs, {2})},
                                            {"scalar", {floats.data(), DType::kFloat32, {}}},
                                            {"nothing", ref(nothing, {0, 4})}};
  write_safetensors(folder / "a.safetensors", tensors, {{"format", "pt"}, {"step", "12"}});

  const SafetensorsFile file(folder / "a.safetensors");
  EXPECT_EQ(file.metadata(), (SafetensorsMetadata{{"format", "pt"}, {"step", "12"}}));
  ASSERT_EQ(file.entries().size(), tensors.size());
  for (const NamedTensor& t : tensors) {
    std::vector<uint8_t> read(t.tensor.bytes());
    file.read(t.name, {read.data(), t.tensor.dtype, t.tensor.shape});
    EXPECT_TRUE(std::equal(read.begin(), read.end(), t.tensor.as<uint8_t>())) << t.name;
    EXPECT_EQ(file.entry(t.name).begin % size_of(t.tensor.dtype), 0u) << t.name;
  }
  EXPECT_EQ(file.read_as_float32("halves"), (std::vector<float>{1.0f, -3.5f}));
  EXPECT_EQ(file.read_as_float32("doubles"),
            (std::vector<float>{0.1f, std::numeric_limits<float>::infinity()}));
  EXPECT_EQ(file.read_as_float32("nothing").size(), 0u);
  expect_bad_input({"tensor 'ints' is I32", "floating-point"}, [&] { file.read_as_float32("ints"); });
  EXPECT_TRUE(file.contains("ints"));
  EXPECT_FALSE(file.contains("int"));
  expect_bad_input({"a.safetensors", "no tensor 'int'"}, [&] { file.entry("int"); });
  std::vector<float> wrong(6);
  expect_bad_input({"tensor 'floats \"\u00fc\"' is F32 [2,3], expected float32 [3,2]"}, [&] {
    file.read("floats \"\u00fc\"", {wrong.data(), DType::kFloat32, {3, 2}});
  });
  expect_bad_input({"expected float64 [2,3]"}, [&] {
    file.read("floats \"\u00fc\"", {wrong.data(), DType::kFloat64, {2, 3}});
  });
  expect_bad_input({"expected 5 elements"},
                   [&] { file.read_as_float32("halves", std::span(wrong.data(), 5)); });
}

TEST(Safetensors, ExactBytes) {
  TempFolder folder;
  const std::vector<uint8_t> a = {7, 8, 9};
  const std::vector<float> b = {1.0f};
  const std::vector<NamedTensor> tensors = {{"a", ref(a, {3})}, {"b", ref(b, {1})}};
  write_safetensors(folder / "a", tensors, {{"format", "pt"}});
  std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
      R"("a":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(get(folder / "a"), with_length(header, std::string("\0\0\x80\x3f\7\10\11", 7)));
}

TEST(Safetensors, WriterChecksItsCaller) {
  TempFolder folder;
  const std::vector<float> v = {1.0f};
  const auto refused = [&](const std::vector<NamedTensor>& tensors) {
    expect_error(Fault::kFailure, {"tensor"}, [&] { write_safetensors(folder / "a", tensors); });
  };
  refused({{"a", ref(v, {1})}, {"a", ref(v, {1})}});
  refused({{"__metadata__", ref(v, {1})}});
  refused({{"a", {nullptr, DType::kFloat32, {1}}}});
  EXPECT_TRUE(folder.names().empty());
  write_safetensors(folder / "none", {}, {});
  EXPECT_TRUE(SafetensorsFile(folder / "none").entries().empty());
}

TEST(Safetensors, HalfPrecisionIsExact) {  // against ldexp for all 65536 bit patterns
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
    const float got = float_from_half(static_cast<uint16_t>(bits));
    if (exponent == 31 && fraction) {
      EXPECT_TRUE(std::isnan(got));
      continue;
    }
    float expected = exponent == 31  ? std::numeric_limits<float>::infinity()
                     : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    if (bits & 0x8000) expected = -expected;
    ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected)) << bits;
  }
  TempFolder folder;
  put(folder / "h", with_length(R"({"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})",
                                std::string("\x00\x3c\x00\xc1", 4)));
  EXPECT_EQ(SafetensorsFile(folder / "h").read_as_float32("h"), (std::vector<float>{1.0f, -2.5f}));
}

class SafetensorsLies : public ::testing::Test {
 protected:
  void refused(const std::string& content, const std::vector<std::string>& parts) {
    put(folder_ / "lie.safetensors", content);
    std::vector<std::string> all = {"lie.safetensors: "};
    all.insert(all.end(), parts.begin(), parts.end());
    expect_bad_input(all, [&] { SafetensorsFile file(folder_ / "lie.safetensors"); });
  }
  void header_refused(const std::string& header, const std::vector<std::string>& parts,
                      size_t data_bytes = 8) {
    refused(with_length(header, std::string(data_bytes, 'x')), parts);
  }
  TempFolder folder_;
};

TEST_F(SafetensorsLies, Sizes) {
  refused("", {"0 bytes"});
  refused("1234567", {"7 bytes"});
  refused(std::string("\x40\0\0\0\0\0\0\0{}", 10), {"truncated", "64 bytes", "only 2"});
  refused(std::string(8, '\xff') + "{}", {"claims a header of 18446744073709551615 bytes"});
  refused(std::string("\0\xe1\xf5\5\1\0\0\0{}", 10), {"claims a header of"});
  refused(with_length("{}", "x"), {"1 bytes at the end"});
  expect_bad_input({"cannot read"}, [&] { SafetensorsFile file(folder_ / "none"); });
  expect_bad_input({"directory"}, [&] { SafetensorsFile file(folder_.path()); });
}

TEST_F(SafetensorsLies, Headers) {
  header_refused("", {"not a JSON object"});
  header_refused("[]", {"not a JSON object"});
  header_refused("{\"a\"", {"header:1:5: not valid JSON"});
  header_refused(R"({"a":3})", {"tensor 'a'", "JSON object"});
  header_refused(R"({"a":{"dtype":"F32"}})", {"tensor 'a'", "no shape"});
  header_refused(R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}})", {"tensor 'a'", "no dtype"});
  header_refused(R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", {"tensor 'a'", "F8_E4M3"});
  header_refused(R"({"a":{"dtype":"F32","shape":[2]}})", {"tensor 'a'", "data_offsets"});
  header_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", {"tensor 'a'", "data_offsets"});
  header_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})",
                 {"tensor 'a'", "data_offsets"});
  header_refused(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", {"tensor 'a'", "no shape"});
  header_refused(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", {"tensor 'a'", "no shape"});
  header_refused(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})",
                 {"no shape"});
  header_refused(R"({"__metadata__":{"a":1}})", {"__metadata__", "\"a\""}, 0);
  header_refused(R"({"__metadata__":7})", {"__metadata__"}, 0);
  header_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                 R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                 {"\"a\" twice"});
}

TEST_F(SafetensorsLies, ShapesAndOffsets) {
  const auto one = [](const char* name, const char* shape, const char* offsets) {
    return str('"', name, R"(":{"dtype":"F32","shape":)", shape, R"(,"data_offsets":)", offsets, "}");
  };
  const auto both = [&](const char* a, const char* b) {
    return "{" + one("a", "[1]", a) + "," + one("b", "[1]", b) + "}";
  };
  header_refused("{" + one("a", "[4611686018427387904,2]", "[0,8]") + "}", {"tensor 'a'", "overflows"});
  header_refused("{" + one("a", "[4294967296,4294967296,0]", "[0,0]") + "}", {"tensor 'a'", "overflows"}, 0);
  header_refused("{" + one("a", "[3]", "[0,8]") + "}", {"tensor 'a'", "takes 8 bytes", "needs 12"});
  header_refused("{" + one("a", "[2]", "[8,0]") + "}", {"tensor 'a'", "before it begins"});
  header_refused("{" + one("a", "[3]", "[0,12]") + "}", {"tensor 'a'", "ends at byte 12", "8"});
  header_refused("{" + one("a", "[1]", "[0,4]") + "}", {"4 bytes at the end"});
  header_refused("{" + one("a", "[1]", "[4,8]") + "}", {"4 bytes before tensor 'a'"});
  header_refused(both("[0,4]", "[0,4]"), {"tensor 'b' overlaps tensor 'a'"});
  header_refused(both("[0,4]", "[2,6]"), {"tensor 'b' overlaps tensor 'a'"});
  header_refused(both("[0,4]", "[5,9]"), {"1 bytes before tensor 'b'"}, 9);
}

TEST_F(SafetensorsLies, EveryTruncationIsNoticed) {
  const std::vector<float> v = {1, 2, 3, 4};
  const std::vector<NamedTensor> tensors = {{"a", ref(v, {2})}, {"b", ref(v, {2, 2})}};
  write_safetensors(folder_ / "good", tensors);
  const std::string good = get(folder_ / "good");
  for (size_t size = 0; size < good.size(); ++size) refused(good.substr(0, size), {});
}

TEST_F(SafetensorsLies, FileThatShrinksUnderTheReader) {
  put(folder_ / "s", with_length(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678"));
  const SafetensorsFile file(folder_ / "s");
  std::filesystem::resize_file(folder_ / "s", 60);
  expect_bad_input({"became shorter", "'a'"}, [&] { file.read_as_float32("a"); });
}

TEST(Safetensors, RandomDamageIsReadOrRefusedNeverFatal) {
  TempFolder folder;
  const std::vector<float> v(12, 1.0f);
  const std::vector<NamedTensor> tensors = {{"conv.weight", ref(v, {3, 2, 2})}, {"conv.bias", ref(v, {3})}};
  write_safetensors(folder / "good", tensors);
  const std::string good = get(folder / "good");
  std::mt19937 random(20240229);  // fixed: the same 2000 damaged files everywhere
  const std::string alphabet = "{}[]\",:0123456789-.eF32 \\\xff";
  int read = 0, refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
      const size_t at = random() % bad.size();
      const char c = random() % 2 ? alphabet[random() % alphabet.size()] : static_cast<char>(random());
      switch (random() % 4) {
        case 0: bad[at] = c; break;
        case 1: bad.insert(at, 1, c); break;
        case 2: bad.erase(at, 1 + random() % 4); break;
        case 3: bad[at] = static_cast<char>(bad[at] ^ 1 << random() % 8); break;
      }
    }
    put(folder / "bad", bad);
    try {
      const SafetensorsFile file(folder / "bad");
      for (const auto& e : file.entries()) file.read_as_float32(e.name);
      ++read;
    } catch (const Error& e) {
      EXPECT_EQ(e.fault, Fault::kBadInput);
      ++refused;
    }
  }
  EXPECT_GT(read, 100);  // damage to the data itself cannot be seen
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace imago

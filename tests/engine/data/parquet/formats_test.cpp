// The parts of the Parquet reader on hand-made bytes: Thrift, runs, differences, byte arrays, compression.
#include "engine/data/parquet/byte_arrays.h"
#include "engine/data/parquet/compression.h"
#include "engine/data/parquet/delta.h"
#include "engine/data/parquet/encodings.h"
#include "engine/data/parquet/rle.h"
#include "engine/data/parquet/thrift.h"
#include "tests/support/temp_folder.h"

namespace imago::parquet {
namespace {

using namespace imago::test;
using Ints = std::vector<int64_t>;
using Values = std::vector<uint32_t>;

std::string bytes(std::initializer_list<int> values) {
  std::string s;
  for (int v : values) s.push_back(static_cast<char>(v));
  return s;
}

TEST(Thrift, FieldsOfEveryType) {
  // 1: i32 -3; 2: binary "ab"; 3: true; 20 (long form): list of 2 i64 [1,300]; then skipped: 21 double,
  // 22 map {1: "x"}, 23 set of 2 truth values, 24 struct {1: false}; 25: byte -1.
  const std::string s = bytes({0x15, 5,    0x18, 2,    'a',  'b', 0x11, 0x09, 40, 0x26, 2, 0xd8, 4,  //
                               0x17, 0,    0,    0,    0,    0,   0,    0,    0,  0x1b, 1, 0x58, 2,
                               1,    'x',  0x1a, 0x21, 1,    2,  //
                               0x1c, 0x12, 0,    0x13, 0xff, 0,   77});
  ThriftReader reader(s, "here");
  Ints integers, listed;
  std::string text;
  bool truth = false;
  reader.structure([&](int id) {
    switch (id) {
      case 1:
      case 25: integers.push_back(reader.integer()); return true;
      case 2: text = reader.binary(); return true;
      case 3: truth = reader.boolean(); return true;
      case 20: reader.list([&] { listed.push_back(reader.integer()); }); return true;
      default: return false;
    }
  });
  EXPECT_EQ(text, "ab");
  EXPECT_TRUE(truth);
  EXPECT_EQ(integers, (Ints{-3, -1}));
  EXPECT_EQ(listed, (Ints{1, 300}));
  EXPECT_EQ(reader.position(), s.size() - 1);
  for (size_t size = 0; size + 1 < s.size(); ++size) {
    const std::string cut = s.substr(0, size);
    ThriftReader shorter(cut, "here");
    expect_bad_input({"here: corrupt Thrift"}, [&] { shorter.structure([](int) { return false; }); });
  }
}

TEST(Thrift, LiesAreNoticed) {
  const auto skipped = [](const std::string& s) {
    expect_bad_input({"here: corrupt Thrift"},
                     [&] { ThriftReader(s, "here").structure([](int) { return false; }); });
  };
  skipped(bytes({0x18, 0xff, 0xff, 0xff, 0xff, 0x0f, 'a', 0}));   // a text of 4 GiB
  skipped(bytes({0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}));  // a list as long
  skipped(bytes({0x1b, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x55, 0}));  // a map as long
  skipped(bytes({0x1d, 0}));                                      // type 13
  skipped(bytes({0x15}) + std::string(11, '\xff') + bytes({0}));  // an endless integer
  skipped(std::string(100000, '\x1c'));                           // structs in structs
  skipped(std::string(1, '\x19') + std::string(100000, '\x19'));  // lists in lists
  const std::string integer = bytes({0x15, 2, 0});
  ThriftReader reader(integer, "here");
  expect_bad_input({"unexpected type"},
                   [&] { reader.structure([&](int) { return static_cast<void>(reader.binary()), true; }); });
}

TEST(Rle, RunsAndPackedValues) {
  EXPECT_EQ(decode_rle(bytes({8, 5}), 3, 4, "here"), (Values{5, 5, 5, 5}));
  // 0..7 in 3 bits each: the example of Encodings.md.
  EXPECT_EQ(decode_rle(bytes({3, 0x88, 0xc6, 0xfa}), 3, 8, "here"), (Values{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(decode_rle(bytes({3, 0x88, 0xc6, 0xfa}), 3, 5, "here"), (Values{0, 1, 2, 3, 4}));
  EXPECT_EQ(decode_rle(bytes({3, 0x88, 0xc6, 0xfa, 4, 6}), 3, 10, "here"),
            (Values{0, 1, 2, 3, 4, 5, 6, 7, 6, 6}));
  EXPECT_EQ(decode_rle(bytes({0x80, 1}), 0, 64, "here"), Values(64, 0));  // no bits, no bytes
  EXPECT_EQ(decode_rle(bytes({2, 0xff, 0xff, 0xff, 0xff}), 32, 1, "here"), (Values{0xffffffff}));
  EXPECT_EQ(decode_rle("", 1, 0, "here"), Values{});
}

TEST(Rle, LiesAreNoticed) {
  for (const std::string& s : {bytes({}), bytes({8}), bytes({6, 1}), bytes({3, 1, 2}), bytes({8, 9}),
                               bytes({0xff, 0xff, 0xff, 0xff, 0x0f, 1}), std::string(12, '\xff')})
    expect_bad_input({"here: corrupt"}, [&] { decode_rle(s, 3, 4, "here"); });
}

TEST(Delta, ExamplesOfTheSpecification) {
  size_t end = 0;
  // 1, 2, 3, 4, 5: every difference is 1.
  const std::string steady = bytes({128, 1, 4, 5, 2, 2, 0, 0, 0, 0, 99});
  EXPECT_EQ(decode_delta(steady, 5, "here", end), (Ints{1, 2, 3, 4, 5}));
  EXPECT_EQ(end, steady.size() - 1);
  // 7, 5, 3, 1, 2, 3, 4, 5: least difference -2, 2 bits for each.
  const std::string turning = bytes({128, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(decode_delta(turning, 8, "here", end), (Ints{7, 5, 3, 1, 2, 3, 4, 5}));
  EXPECT_EQ(end, turning.size());
  EXPECT_EQ(decode_delta(bytes({128, 1, 4, 0, 0}), 0, "here", end), Ints{});
  for (size_t size = 0; size < turning.size(); ++size)
    expect_bad_input({"here: corrupt"}, [&] { decode_delta(turning.substr(0, size), 8, "here", end); });
}

TEST(Delta, LiesAreNoticed) {
  size_t end = 0;
  const auto refused = [&](const std::string& s) {
    expect_bad_input({"here: corrupt"}, [&] { decode_delta(s, 5, "here", end); });
  };
  refused(bytes({128, 1, 4, 6, 2, 2, 0, 0, 0, 0}));              // 6 values
  refused(bytes({127, 4, 5, 2, 2, 0, 0, 0, 0}));                 // blocks of 127
  refused(bytes({128, 1, 0, 5, 2, 2, 0, 0, 0, 0}));              // no miniblocks
  refused(bytes({128, 1, 8, 5, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0}));  // miniblocks of 16
  refused(bytes({128, 1, 4, 5, 2, 2, 65, 0, 0, 0}) + std::string(2000, '\0'));
  refused(bytes({0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 4, 5, 2, 2, 0, 0, 0, 0}));
}

TEST(Encodings, IntegersAndTruthValues) {
  const auto plain = Encoding::kPlain;
  EXPECT_EQ(decode_integers(Type::kInt32, plain, bytes({1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff}), 2, "here"),
            (Ints{1, -2}));
  EXPECT_EQ(decode_integers(Type::kInt64, plain, bytes({0, 0, 0, 0, 0, 1, 0, 0}), 1, "here"),
            (Ints{int64_t{1} << 40}));
  EXPECT_EQ(decode_integers(Type::kBoolean, plain, bytes({5, 1}), 9, "here"),
            (Ints{1, 0, 1, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(decode_integers(Type::kBoolean, Encoding::kRle, bytes({2, 0, 0, 0, 6, 1}), 3, "here"),
            (Ints{1, 1, 1}));
  expect_bad_input({"here: corrupt"}, [&] { decode_integers(Type::kInt32, plain, "abcdefg", 2, "here"); });
  expect_bad_input({"here: DOUBLE in the encoding PLAIN"},
                   [&] { decode_integers(Type::kDouble, plain, "abcdefgh", 1, "here"); });
  expect_bad_input({"number 42"},
                   [&] { decode_integers(Type::kInt32, static_cast<Encoding>(42), "", 0, "here"); });
}

TEST(Encodings, ByteArraysThatLie) {
  const auto refused = [](Encoding encoding, const std::string& s) {
    expect_bad_input({"here: corrupt"}, [&] { decode_byte_arrays(encoding, s, 1, "here"); });
  };
  refused(Encoding::kPlain, bytes({1, 0, 0}));
  refused(Encoding::kPlain, bytes({2, 0, 0, 0, 'a'}));
  refused(Encoding::kPlain, bytes({0xff, 0xff, 0xff, 0xff, 'a'}));
  refused(Encoding::kDeltaLengthByteArray, bytes({128, 1, 4, 1, 4, 'a'}));  // a length of 2
  refused(Encoding::kDeltaLengthByteArray, bytes({128, 1, 4, 1, 1, 'a'}));  // of -1
  const std::string lengths = bytes({128, 1, 4, 1, 2, 'a'});
  refused(Encoding::kDeltaByteArray, bytes({128, 1, 4, 1, 2}) + lengths);  // shares 1 byte with nothing
  const ByteArrays good =
      decode_byte_arrays(Encoding::kDeltaByteArray, bytes({128, 1, 4, 1, 0}) + lengths, 1, "here");
  EXPECT_EQ(good.storage, "a");
}

TEST(Compression, BombsAndLies) {
  EXPECT_EQ(unpack(Codec::kUncompressed, "abc", 3, "here"), "abc");
  for (const Codec codec :
       {Codec::kUncompressed, Codec::kSnappy, Codec::kGzip, Codec::kZstd, Codec::kLz4Raw}) {
    expect_bad_input({"here: corrupt"}, [&] { unpack(codec, "abc", 4, "here"); });
    expect_bad_input({"here: 3 bytes that claim to unpack to 2147483647"},
                     [&] { unpack(codec, "abc", 2147483647, "here"); });
    EXPECT_EQ(unpack(codec, "", 0, "here"), "");
  }
  for (const Codec codec : {Codec::kLzo, Codec::kBrotli, Codec::kLz4})
    expect_bad_input({"here: compressed with " + name_of(codec) + "; expected"},
                     [&] { unpack(codec, "abc", 3, "here"); });
}

TEST(PageCache, HoldsTheLastPagesUpToItsBound) {
  const auto page_of = [](size_t bytes) {
    return [bytes] {
      auto page = std::make_shared<ByteArrayPage>();
      page->bytes.assign(bytes, 'x');
      return page;
    };
  };
  const std::vector<PageLocation> at(4);
  PageCache cache(3500);
  const auto first = cache.get(at[0], page_of(1000));
  cache.get(at[1], page_of(1000));
  EXPECT_EQ(cache.get(at[0], [] { return std::shared_ptr<ByteArrayPage>(); }), first);  // held: not read
  cache.get(at[2], page_of(1000));
  cache.get(at[3], page_of(1000));  // the one not used for longest, 1, goes
  EXPECT_LE(cache.bytes(), 3500u);
  EXPECT_EQ(cache.get(at[0], page_of(1)), first);
  EXPECT_EQ(cache.get(at[1], page_of(7))->bytes.size(), 7u);
  EXPECT_EQ(cache.get(at[3], page_of(10000))->bytes.size(), 1000u);
  const std::vector<PageLocation> large(1);
  EXPECT_EQ(cache.get(large[0], page_of(10000))->bytes.size(), 10000u);  // alone, although too large
  EXPECT_EQ(cache.get(large[0], page_of(1))->bytes.size(), 10000u);
  EXPECT_NE(cache.get(at[0], page_of(5)), first);
}

}  // namespace
}  // namespace imago::parquet

// JSON in and out: errors with places, Python's layout.
#include "engine/io/json.h"

#include <nlohmann/json.hpp>

#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using nlohmann::json;
using test::expect_bad_input;
using test::get;
using test::put;
using test::TempFolder;

TEST(Json, ErrorsNameFileLineAndColumn) {
  TempFolder folder;
  const auto refused = [&](const std::string& content, const std::string& place) {
    put(folder / "c.json", content);
    expect_bad_input({(folder / "c.json").string() + place, "not valid JSON"},
                     [&] { read_json(folder / "c.json"); });
  };
  refused("{\n  \"a\": 1,\n  \"b\": ?\n}\n", ":3:8: ");
  refused("{\"a\": 1,}", ":1:9: ");
  refused("", ":1:1: ");
  refused("{\n\"a\": [1, 2\n", ":3:1: ");
  refused("{} {}", ":1:4: ");
  refused("{\"a\": \"\xff\"}", ":1:8: ");
  refused("{\"a\": nan}", ":1:8: ");
  refused("{\"a\": 1e999}", ": ");
  refused(std::string(100'000, '['), ":1:100001: ");  // no recursion in the parser
  expect_bad_input({"cannot read"}, [&] { read_json(folder / "none"); });
}

// As Python writes infinities; inside texts they are texts.
TEST(Json, InfinitiesAreNull) {
  const json read =
      parse_json(R"({"a": -Infinity, "b": [Infinity, 1], "c": "Infinity", "d\"": "-Infinity"})", "x");
  EXPECT_EQ(read, (json{{"a", nullptr}, {"b", {nullptr, 1}}, {"c", "Infinity"}, {"d\"", "-Infinity"}}));
  expect_bad_input({"x:1:7"}, [] { parse_json("{\"a\": xInfinity}", "x"); });
}

TEST(Json, KeysTwice) {
  EXPECT_EQ(parse_json(R"({"a":1,"a":2})", "x")["a"], 2);
  expect_bad_input({"x: has \"a\" twice"}, [] { parse_json(R"({"a":1,"a":2})", "x", true); });
  expect_bad_input({"x: has \"a\" twice"}, [] { parse_json(R"({"b":[{"a":1,"a":2}]})", "x", true); });
  EXPECT_EQ(parse_json(R"({"a":{"a":1},"b":[{"a":2},{"a":3}]})", "x", true)["b"][1]["a"], 3);
}

TEST(Json, WritesWhatPythonWrites) {  // json.dumps(value, indent=2, sort_keys=True) + "\n"
  TempFolder folder;
  json value = {{"z", nullptr},          {"a", {1, 2}},  {"empty", json::object()},
                {"none", json::array()}, {"eps", 1e-05}, {"s", "f\u00fcr \"x\""},
                {"flag", true}};
  write_json(folder / "c.json", value);
  EXPECT_EQ(get(folder / "c.json"),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"empty\": {},\n  \"eps\": 1e-05,\n  \"flag\": true,\n"
            "  \"none\": [],\n  \"s\": \"f\\u00fcr \\\"x\\\"\",\n  \"z\": null\n}\n");
  EXPECT_EQ(read_json(folder / "c.json"), value);
  EXPECT_NO_THROW(write_json(folder / "path.json", json{{"path", "not utf-8: \xff"}}));
}

}  // namespace
}  // namespace imago

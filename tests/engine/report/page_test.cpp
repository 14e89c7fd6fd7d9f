// The parts of a page: text is escaped, images are held, nothing that is not there leaves a frame.
#include "engine/report/page.h"

#include <gtest/gtest.h>

#include "engine/image/png.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Page, HasItsPartsInTheirOrder) {
  const std::string html = format_page({"a < b", "c & d", format_fact("Loss", "0.1", "mean"), "<p>card</p>"});
  EXPECT_TRUE(contains(html, "<title>a &lt; b"));
  EXPECT_TRUE(contains(html, "<p>c &amp; d</p>"));
  EXPECT_TRUE(contains(html, "<dt>Loss</dt><dd>0.1 <small>mean</small></dd>"));
  EXPECT_LT(html.find("</h1>"), html.find("<dt>Loss"));
  EXPECT_LT(html.find("<dt>Loss"), html.find("<main>\n<p>card</p>"));
  EXPECT_FALSE(contains(format_page({"title", "", "", ""}), "<dl"));
}

TEST(Page, TablesEscapeTheirTextAndAreNotThereWithoutRows) {
  EXPECT_TRUE(contains(format_table("Model", {{"a<b", "1 & 2"}}), "<td>a&lt;b</td><td>1 &amp; 2</td>"));
  EXPECT_EQ(format_table("Model", {}), "");
  const std::string columns = format_columns("Sweep", {"name", "x<y"}, {{"one", "1"}, {"two", ">2"}});
  EXPECT_TRUE(contains(columns, "<tr><th>name</th><th>x&lt;y</th></tr>"));
  EXPECT_TRUE(contains(columns, "<tr><td>two</td><td>&gt;2</td></tr>"));
  EXPECT_EQ(format_columns("Sweep", {"name"}, {}), "");
}

TEST(Page, EnlargesSmallImagesByWholeNumbers) {
  const std::string png = encode_png(std::vector<uint8_t>(100 * 40), 40, 100, 1);
  const EmbeddedPng image = embed_png(png, "grid.png", "a \"grid\"");
  EXPECT_TRUE(contains(image.html, "width=\"400\" height=\"160\"")) << image.html.substr(0, 200);
  EXPECT_TRUE(contains(image.html, "alt=\"a &quot;grid&quot;\""));
  EXPECT_TRUE(image.wide);
  EXPECT_FALSE(embed_png(encode_png(std::vector<uint8_t>(16), 4, 4, 1), "", "").wide);
  test::expect_bad_input({"grid.png: not a PNG image"}, [] { (void)embed_png("GIF89a", "grid.png", ""); });
}

TEST(Page, RoundsToThreeDigits) {
  EXPECT_EQ(format_rounded(0.012345), "0.0123");
  EXPECT_EQ(format_rounded(2), "2");
  EXPECT_EQ(format_rounded(1234.5), "1234");
}

}  // namespace
}  // namespace imago

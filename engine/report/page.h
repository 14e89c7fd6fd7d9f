// What the pages of reports are made of: the frame, facts, tables and images, as pieces of HTML.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace imago {

/// A whole page: no other file, no network and no JavaScript is needed to read it. Title and subtitle are
/// plain text, the rest HTML: facts at the top, and cards below.
struct Page {
  std::string title;     // "fashion-mnist"
  std::string subtitle;  // may be empty
  std::string facts;     // format_fact() each; may be empty
  std::string cards;     // charts, tables, images
};
std::string format_page(const Page& page);

/// A number with its name above, and something small behind it. Name and value are HTML.
std::string format_fact(const std::string& name, const std::string& value, const std::string& small = "");

/// Names and values, plain text. Empty without rows.
using NamesAndValues = std::vector<std::pair<std::string, std::string>>;
std::string format_table(const std::string& title, const NamesAndValues& rows);

/// Columns under their names, plain text, the first to the left and the others to the right; over the whole
/// width of the page. Empty without rows.
using Cells = std::vector<std::string>;
std::string format_columns(const std::string& title, const Cells& names, const std::vector<Cells>& rows);

/// An <img> that holds its PNG. A small one is enlarged by a whole number to about half the width of a page.
struct EmbeddedPng {
  std::string html;
  bool wide;  // more than half as wide again as high
};
/// Bad input "NAME: not a PNG image" for other bytes.
EmbeddedPng embed_png(std::string_view bytes, const std::string& name, const std::string& alt);

/// Three digits, or a whole number from 100 on.
std::string format_rounded(double value);

}  // namespace imago

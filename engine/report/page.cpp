#include "engine/report/page.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "engine/report/chart.h"
#include "engine/report/page_parts.h"
#include "kernels/error.h"

namespace imago {
namespace {

constexpr int kWidestImage = 960;  // CSS pixels

std::string base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += k <= n ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

}  // namespace

std::string format_page(const Page& page) {
  const std::string title = escape_html(page.title);
  std::string html =
      str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
          title, " \u00b7 Imago</title>\n<link rel=\"icon\" href=\"", kReportIcon, "\">\n<style>",
          kReportStyle, "</style>\n</head>\n<body>\n<header>\n<h1>", title, "</h1>\n");
  if (!page.subtitle.empty()) html += str("<p>", escape_html(page.subtitle), "</p>\n");
  if (!page.facts.empty()) html += "<dl class=\"facts\">\n" + page.facts + "</dl>\n";
  return html + "</header>\n<main>\n" + page.cards + "</main>\n<script>" + kReportScript +
         "</script>\n</body>\n</html>\n";
}

std::string format_fact(const std::string& name, const std::string& value, const std::string& small) {
  return str("<div><dt>", name, "</dt><dd>", value, small.empty() ? "" : " <small>" + small + "</small>",
             "</dd></div>\n");
}

std::string format_table(const std::string& title, const NamesAndValues& rows) {
  if (rows.empty()) return "";
  std::string html = str("<section class=\"card\">\n<h2>", title, "</h2>\n<table>\n");
  for (const auto& [name, value] : rows)
    html += str("<tr><td>", escape_html(name), "</td><td>", escape_html(value), "</td></tr>\n");
  return html + "</table>\n</section>\n";
}

std::string format_columns(const std::string& title, const Cells& names, const std::vector<Cells>& rows) {
  if (rows.empty()) return "";
  std::string html = str("<section class=\"card wide\">\n<h2>", escape_html(title),
                         "</h2>\n<table class=\"figures\">\n<tr>");
  for (const std::string& name : names) html += "<th>" + escape_html(name) + "</th>";
  html += "</tr>\n";
  for (const Cells& row : rows) {
    html += "<tr>";
    for (const std::string& cell : row) html += "<td>" + escape_html(cell) + "</td>";
    html += "</tr>\n";
  }
  return html + "</table>\n</section>\n";
}

EmbeddedPng embed_png(std::string_view bytes, const std::string& name, const std::string& alt) {
  constexpr std::string_view kStart = "\x89PNG\r\n\x1a\n";
  if (!bytes.starts_with(kStart) || bytes.size() < 24) bad_input(name, ": not a PNG image");
  const auto big_endian = [&](size_t at) {
    int value = 0;
    for (size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  };
  const int width = big_endian(16), height = big_endian(20);  // the first chunk is IHDR
  if (width <= 0 || height <= 0) bad_input(name, ": not a PNG image");
  const int enlarged = width * std::max(1, kWidestImage / 2 / width);
  return {str("<img alt=\"", escape_html(alt), "\" width=\"", enlarged, "\" height=\"",
              static_cast<int64_t>(enlarged) * height / width, "\" src=\"data:image/png;base64,",
              base64(bytes), "\">"),
          width > 3 * height / 2};
}

std::string format_rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 100 ? "%.3g" : "%.0f", value);
  return text;
}

}  // namespace imago

"""Two plots as SVG files: bars with their spread, and curves."""

import html

FONT = "font-family='system-ui, sans-serif' font-size='12'"
COLORS = ("#2f6f9f", "#c8553d", "#588157", "#8d6a9f", "#b08900", "#333333")


def text(x, y, words, anchor="start", color="#222"):
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='{color}'>{html.escape(str(words))}</text>"


def line(x1, y1, x2, y2, color="#ccc", width=1):
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{color}' stroke-width='{width}'/>"


def picture(width, height, parts):
    body = "\n".join(parts)
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' {FONT}>\n"
            f"<rect width='{width}' height='{height}' fill='white'/>\n{body}\n</svg>\n")


def ticks(most, count=5):
    """0 and round numbers up to `most`."""
    step = most / count
    scale = 10 ** len(str(int(step))) / 10 if step >= 1 else 0.1 if step >= 0.1 else 0.01
    step = max(scale, round(step / scale) * scale)
    return [i * step for i in range(int(most / step + 1e-9) + 1)]


def bars(title, rows, unit="", mark=None):
    """rows: [(name, value, least, most)]; `mark`: a value with a line of its own."""
    left, right, row_height, top = 330, 60, 22, 40
    width, height = 820, top + row_height * len(rows) + 30
    most = 1.05 * max([r[3] for r in rows] + [mark or 0])

    def x(value):
        return left + (width - left - right) * value / most

    parts = [text(12, 20, title)]
    for tick in ticks(most):
        parts += [line(x(tick), top - 6, x(tick), height - 24), text(x(tick), height - 8, f"{tick:g}{unit}", "middle", "#666")]
    for i, (name, value, least, high) in enumerate(rows):
        y = top + row_height * i
        parts.append(f"<rect x='{left}' y='{y + 3}' width='{x(value) - left:.1f}' height='{row_height - 7}' "
                     f"fill='{COLORS[0]}'/>")
        parts.append(line(x(least), y + row_height / 2 - 0.5, x(high), y + row_height / 2 - 0.5, "#222", 2))
        parts.append(text(left - 8, y + row_height - 7, name, "end"))
        parts.append(text(x(high) + 5, y + row_height - 7, f"{value:.2f}{unit}" if value < 10 else f"{value:.0f}{unit}"))
    if mark is not None:
        parts.append(line(x(mark), top - 6, x(mark), height - 24, COLORS[1], 2))
    return picture(width, height, parts)


def curves(title, across, upward, series):
    """series: {name: [(x, y)]}; x lies on powers of two, y begins at zero."""
    left, bottom, top, width, height = 60, 46, 40, 620, 340
    xs = sorted({x for points in series.values() for x, _ in points})
    most = 1.1 * max(y for points in series.values() for _, y in points)

    def place(x, y):
        return left + (width - left - 20) * xs.index(x) / max(1, len(xs) - 1), height - bottom - (height - bottom - top) * y / most

    parts = [text(12, 20, title), text((left + width) / 2, height - 8, across, "middle"), text(12, top - 6, upward)]
    for tick in ticks(most):
        _, y = place(xs[0], tick)
        parts += [line(left, y, width - 20, y), text(left - 6, y + 4, f"{tick:g}", "end", "#666")]
    for x in xs:
        parts.append(text(place(x, 0)[0], height - bottom + 18, f"{x:g}", "middle", "#666"))
    for i, (name, points) in enumerate(series.items()):
        color = COLORS[i % len(COLORS)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(*p) for p in sorted(points)))
        parts.append(f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='2'/>")
        parts += [f"<circle cx='{px:.1f}' cy='{py:.1f}' r='3' fill='{color}'/>" for px, py in (place(*p) for p in points)]
        if len(series) > 1:
            parts.append(text(width - 30, top + 16 * i, name, "end", color))
    return picture(width, height, parts)

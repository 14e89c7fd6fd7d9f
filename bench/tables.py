"""Tables of Markdown."""


def markdown(header, rows):
    """The first column is text, the others are numbers. Empty without rows."""
    if not rows:
        return ""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"

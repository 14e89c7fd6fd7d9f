#!/usr/bin/env python3
"""Makes data/emoji/: every emoji of Noto Color Emoji at 32x32 over white, in one PNG, with a JSON beside it.

    sudo apt install python3-pil python3-fonttools fonts-noto-color-emoji unicode-data
    python3 data/make_emoji_atlas.py

On Debian 12 this gives the committed files again, byte for byte (Pillow 9.4, fonttools 4.38, font 2.042, Unicode 15.0).

Which: every emoji that the font draws, as a single character or as a sequence (skin tones, families, flags), in the order
of Unicode's emoji-test.txt; its groups are the classes. Joined sequences newer than that file follow the emoji they
begin with. Left out: couples in two different skin tones (25 nearly equal pictures each), and an emoji that looks exactly
like an earlier one (the flags of Norway and Bouvet Island, say).
How: the font's bitmaps are 136x128 pixels; each is centred in a square of white, 136x136, and reduced to 32x32.
"""
import argparse
import io
import json
import pathlib

from fontTools.ttLib import TTFont
from PIL import Image

TILE = 32
COLUMNS = 64
VARIATION_SELECTOR = 0xFE0F  # "draw it in colour": part of a sequence's spelling, not of its identity
JOINER = 0x200D
SKIN_TONES = range(0x1F3FB, 0x1F400)


def read_emoji_test(path):
    """{sequence without variation selectors: (place in the file, group)}, for everything but bare components."""
    known, group = {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
        elif line and not line.startswith("#") and group != "Component":
            codes = (int(code, 16) for code in line.split(";")[0].split())
            known.setdefault(tuple(c for c in codes if c != VARIATION_SELECTOR), (len(known), group))
    return known


def sequences_of(font):
    """{sequence without variation selectors: glyph name}: the character map, and the ligatures built on it."""
    characters = font.getBestCmap()
    spelled = {}  # glyph name: sequence
    for code, glyph in sorted(characters.items()):
        spelled.setdefault(glyph, () if code == VARIATION_SELECTOR else (code,))
    ligatures = []
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, group in getattr(table, "ligatures", {}).items():
                ligatures += [(lig.LigGlyph, [first, *lig.Component]) for lig in group]
    found = {(code,): glyph for code, glyph in characters.items()}
    while ligatures:  # some ligatures are made of others
        ready = [(glyph, parts) for glyph, parts in ligatures if all(part in spelled for part in parts)]
        if not ready:
            break
        ligatures = [(glyph, parts) for glyph, parts in ligatures if any(part not in spelled for part in parts)]
        for glyph, parts in ready:
            sequence = sum((spelled[part] for part in parts), ())
            spelled.setdefault(glyph, sequence)
            found.setdefault(sequence, glyph)
    return found


def choose(found, known, bitmaps):
    """[(sequence, group, glyph)] in their fixed order."""
    chosen = []
    for sequence, glyph in found.items():
        tones = {code for code in sequence if code in SKIN_TONES}
        if glyph not in bitmaps or len(tones) > 1:
            continue
        begin = next((sequence[:n] for n in range(len(sequence), 0, -1) if sequence[:n] in known), None)
        if begin == sequence or (begin and JOINER in sequence):
            place, group = known[begin]
            chosen.append((place, len(sequence), sequence, group, glyph))
    return [(sequence, group, glyph) for _, _, sequence, group, glyph in sorted(chosen)]


def draw(png):
    """A bitmap of the font as a 32x32 RGB picture over white."""
    glyph = Image.open(io.BytesIO(png)).convert("RGBA")
    side = max(glyph.size)
    square = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    square.alpha_composite(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
    return square.convert("RGB").resize((TILE, TILE), Image.Resampling.HAMMING)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--font", type=pathlib.Path,
                        default="/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
    parser.add_argument("--emoji_test", type=pathlib.Path, default="/usr/share/unicode/emoji/emoji-test.txt")
    parser.add_argument("--output_dir", type=pathlib.Path, default=pathlib.Path(__file__).parent / "emoji")
    args = parser.parse_args()

    font = TTFont(args.font)
    bitmaps = font["CBDT"].strikeData[0]
    known = read_emoji_test(args.emoji_test)
    classes = list(dict.fromkeys(group for _, group in known.values()))
    tiles, labels, names, seen = [], [], [], set()
    for sequence, group, glyph in choose(sequences_of(font), known, bitmaps):
        tile = draw(bitmaps[glyph].imageData)
        if tile.tobytes() in seen:
            continue
        seen.add(tile.tobytes())
        tiles.append(tile)
        labels.append(classes.index(group))
        names.append("-".join(f"{code:X}" for code in sequence))

    rows = -(-len(tiles) // COLUMNS)
    atlas = Image.new("RGB", (COLUMNS * TILE, rows * TILE), "white")
    for n, tile in enumerate(tiles):
        atlas.paste(tile, (n % COLUMNS * TILE, n // COLUMNS * TILE))
    args.output_dir.mkdir(parents=True, exist_ok=True)
    atlas.save(args.output_dir / "emoji32.png", compress_level=9, compress_type=0)  # 0: no special strategy, smallest
    description = {
        "tile": TILE, "count": len(tiles), "columns": COLUMNS,
        "notice": "Pictures of Noto Color Emoji, Copyright Google Inc., Apache License 2.0; see NOTICE and LICENSE.",
        "font": font["name"].getDebugName(5), "classes": classes, "labels": labels, "code_points": names,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in description.items()]
    (args.output_dir / "emoji32.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(tiles)} emoji in {args.output_dir}, from {len(bitmaps)} bitmaps of the font")


if __name__ == "__main__":
    main()

"""Files of docs/ that are made of the files in bench/results/: written, or only held against what is there."""

import argparse
import sys

from machine import ROOT


def main(name, description, pages):
    """`pages`: {path: text}. With --check nothing is written, and the exit code is 1 if something differs."""
    parser = argparse.ArgumentParser(prog=name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    check = parser.parse_args().check
    stale = 0
    for path, text in pages.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            print(f"{name}: {path.relative_to(ROOT)}: not what bench/results says; run python3 bench/{name}.py", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")
    return int(check and stale > 0)

#!/usr/bin/env python3
"""Counts the instructions of the hot CUDA kernels, per loop and by class, in what ptxas made for sm_90a.

  sass.py table --objects build/kernels/cuda   print the table that bench/results/cuda_sass.md holds
  sass.py check --objects build/kernels/cuda   compare with that table

`check` fails where a loop has grown by more than 5 %, or makes narrow accesses of 16-byte ones. It wants cuobjdump
and nvdisasm: of a CUDA toolkit, or of NVIDIA's Python packages (--tools DIR). Exit code 0: all is as it was, or
better; 1: something is worse; 2: bad arguments; 3: there is no cuobjdump.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "bench/results/cuda_sass.md"
MOST_GROWTH = 1.05
# Those in which a training step in bfloat16 spends its time; <8 ..: eight channels at a time.
HOT = {
    "convolution/conv2d_hopper.cu": r"conv2d_wgmma<256",
    "convolution/conv2d_wgrad_hopper.cu": r"conv2d_wgrad_wgmma<",
    "norm/group_norm.cu": r"group_norm_kernel<8, true, __nv_bfloat16>",
    "norm/group_norm_backward.cu": r"group_norm_sums_kernel<8, true, __nv_bfloat16>",
    "attention/attention.cu": r"<.*256",
    "attention/attention_backward.cu": r"<.*256",
    "attention/attention_hopper.cu": r"<256",
    "attention/attention_backward_hopper.cu": r"<256",
    "optimizer/optimizer.cu": r"adamw",
}
CLASSES = (  # the first that matches
    ("HGMMA", r"HGMMA"), ("HMMA", r"HMMA"), ("MUFU", r"MUFU"), ("LDGSTS", r"LDGSTS"),
    ("LDG 16", r"LDG\..*128"), ("LDG less", r"LDG\."), ("STG 16", r"STG\..*128"), ("STG less", r"STG\."),
    ("LDS", r"LDS|LDSM"), ("STS", r"STS|STSM"), ("float", r"F(FMA|ADD|MUL|MNMX|SEL|SETP)|I2F|F2"),
    ("branch", r"BRA|CALL|RET|BSYNC|BSSY|WARPSYNC|EXIT"),
    ("integer", r"U?(IMAD|IADD|ISETP|LOP|SHF|LEA|SEL|IABS|PRMT|MOV|VIADD)"), ("other", r""))
NAMES = tuple(name for name, _ in CLASSES)
END = "end"


@dataclasses.dataclass
class Loop:
    kernel: str
    number: int | str  # in the kernel, the longest first; 0: the kernel as a whole; END: no loop, see epilogue()
    counts: dict

    @property
    def total(self):
        return sum(self.counts.values())

    def row(self):
        cells = [self.kernel, self.number or "all", self.total, *(self.counts.get(name, 0) for name in NAMES)]
        return "| " + " | ".join(str(cell) for cell in cells) + " |"


def class_of(operation):
    return next(name for name, pattern in CLASSES if re.match(pattern, operation))


def count(instructions):
    return dict(collections.Counter(class_of(operation) for _, operation, _ in instructions))


def innermost_loops(instructions):
    """[first, last] addresses of backward branches that hold no other."""
    spans = {(target, address) for address, _, target in instructions if target is not None and target < address}
    return [span for span in spans
            if not any(other != span and span[0] <= other[0] and other[1] <= span[1] for other in spans)]


def loops_of(kernel, instructions):
    yield Loop(kernel, 0, count(instructions))
    bodies = [[instruction for instruction in instructions if first <= instruction[0] <= last]
              for first, last in innermost_loops(instructions)]
    hot = sorted((body for body in bodies if len(body) >= 24), key=lambda body: (-len(body), body[0][0]))
    for number, body in enumerate(hot, 1):
        yield Loop(kernel, number, count(body))
    if behind := epilogue(instructions, bodies):
        yield Loop(kernel, END, count(behind))


def epilogue(instructions, bodies):
    """What stands between the last loop of wgmma and the last store: what a finished tile costs, unrolled."""
    products = [body[-1][0] for body in bodies if any(op.startswith("HGMMA") for _, op, _ in body)]
    stores = [address for address, operation, _ in instructions if operation.startswith("STG")]
    return [i for i in instructions if products and stores and max(products) < i[0] <= max(stores)]


def kernels(text):
    """{mangled name: [(address, operation, branch target or None)]} of what cuobjdump --dump-sass prints."""
    found, current = {}, None
    for line in text.splitlines():
        if match := re.search(r"Function : (\S+)", line):
            current = found.setdefault(match[1], [])
        elif match := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);", line):
            target = re.search(r"\b0x([0-9a-f]+)\s*$", match[3]) if match[2].startswith("BRA") else None
            current.append((int(match[1], 16), match[2], int(target[1], 16) if target else None))
    return found


def readable(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True)
    for name in done.stdout.splitlines():
        name = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N__\w+::|imago::cuda::|^void ", "", name)
        depth, end = 0, len(name)  # without the parameters: they begin outside of template brackets
        for i, letter in enumerate(name):
            depth += (letter == "<") - (letter == ">")
            if letter == "(" and depth == 0:
                end = i
                break
        yield name[:end].strip()


def measure(objects, tool, environment):
    loops = []
    for source, wanted in HOT.items():
        done = subprocess.run([tool, "--dump-sass", "-arch", "sm_90a", str(objects / f"{source}.nvcc.o")],
                              env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found = kernels(done.stdout)
        chosen = sorted((name, mangled) for name, mangled in zip(readable(found), found)
                        if re.search(wanted, name))
        if not chosen:
            raise RuntimeError(f"{source}: no kernel is named like {wanted}")
        for name, mangled in chosen:
            loops += loops_of(name, found[mangled])
    return loops


def table(loops):
    header = ["kernel", "loop", "instructions", *NAMES]
    rows = [loop.row() for loop in loops]
    return "\n".join(["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1), *rows])


def page(loops):
    return f"""# Instructions of the hot kernels

What ptxas (CUDA 13.0) makes of them for sm_90a: each kernel as a whole, then its innermost loops, the longest first, and
*end*, what stands between the last loop of wgmma and the last store. Written by `lab/sass/sass.py table`; the test
`cuda_sass` holds the build to it, and the cost model (`lab/cost_model/sass_table.h`) counts with it.

{table(loops)}
"""


def read_table(text):
    rows = [[cell.strip() for cell in line.strip("|\n ").split(" | ")] for line in text.splitlines()
            if re.search(r"\| (all|end|\d+) \|", line)]
    return {(row[0], row[1]): dict(zip(NAMES, map(int, row[3:]))) for row in rows}


def complaints(loops, before):
    """Of every loop of the table that is still there, what is worse."""
    for loop in loops:
        old = before.get((loop.kernel, str(loop.number or "all")))
        if old is None:
            continue
        total = sum(old.values())
        part = "the end" if loop.number == END else f"loop {loop.number}" if loop.number else "as a whole"
        place = f"{loop.kernel}, {part}"
        if loop.number and loop.total > MOST_GROWTH * total:
            yield f"{place}: {loop.total} instructions, {total} in the table"
        for access in ("LDG", "STG"):
            now, then = loop.counts.get(f"{access} 16", 0), old[f"{access} 16"]
            if now < then and loop.counts.get(f"{access} less", 0) > old[f"{access} less"]:
                yield f"{place}: {now} {access} of 16 bytes, {then} in the table, and more narrow ones"
    for kernel, number in before:
        if number == "all" and not any(loop.kernel == kernel for loop in loops):
            yield f"{kernel}: in the table, but not in the build"


def main():
    parser = argparse.ArgumentParser(prog="sass", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("table", "check"))
    parser.add_argument("--objects", type=pathlib.Path, required=True, metavar="DIR", help="of imago_cuda")
    parser.add_argument("--tools", type=pathlib.Path, metavar="DIR", help="where cuobjdump and nvdisasm are")
    options = parser.parse_args()
    path = ":".join(filter(None, (str(options.tools or ""), os.environ.get("PATH"), "/usr/local/cuda/bin")))
    tool = shutil.which("cuobjdump", path=path)
    if tool is None or shutil.which("nvdisasm", path=path) is None:
        print("sass: cuobjdump or nvdisasm is missing: nothing was counted")
        return 3
    if not options.objects.is_dir():
        print(f"sass: --objects {options.objects}: expected the folder of imago_cuda's objects", file=sys.stderr)
        return 2
    loops = measure(options.objects, tool, dict(os.environ, PATH=path))
    if options.command == "table":
        print(page(loops), end="")
        return 0
    worse = list(complaints(loops, read_table(TABLE.read_text(encoding="utf-8"))))
    print("\n".join(worse) or f"{len(loops)} loops and kernels are as in the table, or better")
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())

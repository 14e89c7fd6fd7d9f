"""What a GPU run found, as a page of Markdown."""

import re


def table(header, rows):
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


def scaled(row, key, factor):
    return None if row.get(key) is None else factor * row[key]


def ratio(other, ours):
    return None if not other or not ours else other / ours


def parts_table(results):
    return table(["part", "verdict", "seconds", "found"],
                 [[p["name"], p["verdict"], number(p["seconds"], "{:.0f}"), p["note"].replace("|", "/")]
                  for p in results["parts"]])


def data_of(results, name):
    return next((p["data"] for p in results["parts"] if p["name"] == name and p["data"]), None)


def steps_table(results):
    ours = data_of(results, "steps") or []
    theirs = {(row["network"], row["mode"]): row for row in (data_of(results, "torch") or {}).get("steps", [])}
    rows = []
    for row in ours:
        step = scaled(row, "step_s_median", 1000)
        cells = [row["network"], number(scaled(row, "parameters", 1e-6)), row.get("batch", "-"), number(step),
                 number(row.get("pictures_per_second"), "{:.0f}"), number(row.get("peak_tensor_mib"), "{:.0f}")]
        for mode in ("eager", "compile"):
            peer = theirs.get((row["network"], mode), {})
            other = scaled(peer, "step_s_median", 1000)
            same = peer.get("parameters") in (None, row.get("parameters"))
            cells += [number(other), number(ratio(other, step)) if same else "another network"]
        rows.append(cells)
    return table(["training step, bf16", "M parameters", "batch", "Imago, ms", "images/s", "tensors, MiB",
                  "torch eager, ms", "ratio", "torch.compile, ms", "ratio"], rows)


def case_of(row):
    if "t" in row:
        return f"{row['n']} x {row['t']} tokens, {row['heads']} heads of {row['head_dim']}"
    if "k" not in row:
        return f"{row['n']} x {row['h']}x{row['w']}, {row['c']} channels"
    if row["n"] == 1 and row["h"] == 1:
        return f"matrices {row['w']} x {row['c']} x {row['k']}"
    stride = f" /{row['stride']}" if row["stride"] > 1 else ""
    return f"{row['n']} x {row['h']}x{row['w']}, {row['c']} -> {row['k']}, {row['filter']}x{row['filter']}{stride}"


def identity(row):
    keys = ("op", "n", "h", "w", "c", "k", "filter", "stride", "t", "heads", "head_dim")
    return tuple(row.get(key) for key in keys)


def kernels_table(results, mode):
    theirs = {identity(row): row for row in (data_of(results, "torch") or {}).get("operations", [])}
    rows = []
    for row in data_of(results, "libraries") or []:
        peer = theirs.get(identity(row), {})
        ours, library = row.get(f"imago_{mode}_s"), row.get(f"library_{mode}_s")
        eager = peer.get(f"torch_{mode}_s")
        compiled = peer.get(f"torch_compiled_{mode}_s", eager)
        torch = min((t for t in (eager, compiled) if t is not None), default=None)
        work = row["flops"] or row["bytes"]
        difference = number(row.get("difference"), "{:.1e}") + ("" if row.get("agrees", True) else " OFF")
        rows.append([row["op"], case_of(row), number(ours and 1e6 * ours, "{:.1f}"),
                     number(ours and 1e-12 * work / ours) + (" TFLOP/s" if row["flops"] else " TB/s"),
                     number(library and 1e6 * library, "{:.1f}"), number(ratio(library, ours)),
                     number(torch and 1e6 * torch, "{:.1f}"), number(ratio(torch, ours)), difference])
    return table([f"{mode} L2", "case", "Imago, us", "rate", "library, us", "ratio", "torch, us", "ratio",
                  "difference"], rows)


def by_shapes(profile):
    """The rows of all layers that run an operation on the same shapes, added."""
    sums = {}
    for entry in profile:
        total = sums.setdefault((entry["operation"], entry["shapes"]), dict(entry, calls=0, seconds=0, flops=0, bytes=0))
        for key in ("calls", "seconds", "flops", "bytes"):
            total[key] += entry[key]
    return sums.values()


def profile_table(row, most=24):
    total = sum(entry["seconds"] for entry in row["profile"])
    entries = sorted(by_shapes(row["profile"]), key=lambda entry: -entry["seconds"])[:most]
    lines = [[entry["operation"], entry["shapes"], number(entry["calls"], "{:.0f}"),
              number(1000 * entry["seconds"], "{:.3f}"), number(100 * entry["seconds"] / total, "{:.1f} %"),
              number(1e-12 * entry["flops"] / entry["seconds"], "{:.1f}"),
              number(1e-12 * entry["bytes"] / entry["seconds"])] for entry in entries]
    return table(["operation", "shapes", "calls", "ms a step", "share", "TFLOP/s", "TB/s"], lines)


def failures_table(results):
    """Rows of the op table and PTX wrappers that do not pass, with what is known of the kernel."""
    rows = []
    for part in results["parts"]:
        for row in part["data"] if part["name"] in ("conformance", "rows", "variants") and part["data"] else []:
            if row.get("ended", row["verdict"]) == "passed":
                continue
            rows.append([part["name"], row.get("test") or row["wrapper"], row["verdict"] or row["ended"],
                         row.get("again", "-"), row.get("kernel", "-"), row.get("stuck", "-")])
    return table(["part", "what", "verdict", "once more, alone", "in the launch", "stuck"], rows) if rows else ""


def ncu_table(rows):
    shares = ("tensor", "DRAM", "L2", "issue", "warps")
    return table(["kernel", "grid", "launches", "us", *(f"{name} %" for name in shares), "waits for"],
                 [[row["kernel"], row["grid"], row["launches"], number(row["us"], "{:.1f}"),
                   *(number(row[name], "{:.0f}") for name in shares), row["waits for"]] for row in rows])


def autotuner_table(rows):
    return table(["training step", "off, ms", "on, ms", "ratio"],
                 [[row["network"], number(scaled(row, "off", 1000)), number(scaled(row, "on", 1000)),
                   number(ratio(row.get("off"), row.get("on")))] for row in rows])


def constants_table(rows):
    return table(["constant", "value", "unit"],
                 [[row["constant"], number(row["value"], "{:.4g}"), row["unit"]] for row in rows])


def sentence(row):
    return re.sub(r"\s+", " ", f"""**{row['network']}**, every operation waited for, so that times are upper bounds:
        together {1000 * sum(entry['seconds'] for entry in row['profile']):.2f} ms a step. The most expensive:""")


def page(results):
    gpu = results["gpu"]
    text = [f"# Imago on {gpu['name']}", "",
            f"{results['date']}; {gpu['name']}, {gpu['memory_mib']} MiB, sm_{gpu['capability']}, driver "
            f"{results['driver']}; {results['cores']} CPU cores; Imago {results['version']}", "",
            parts_table(results), ""]
    if failures_table(results):
        text += ["## What does not pass", "", failures_table(results), ""]
    if data_of(results, "steps"):
        text += ["## Whole training steps", "",
                 "The trainer's own step, loading and uploading included; PyTorch's images lie on the GPU. "
                 "Medians of 5 runs. A ratio above 1: Imago is faster.", "", steps_table(results), ""]
    if data_of(results, "autotuner"):
        text += ["## The autotuner", "", autotuner_table(data_of(results, "autotuner")), ""]
    if data_of(results, "constants"):
        text += ["## What the cost model assumes, measured", "", constants_table(data_of(results, "constants")), ""]
    if data_of(results, "ncu"):
        text += ["## The longest kernels", "",
                 "Shares of the peak in one launch; the time is that of all launches of this grid in a step.", "",
                 ncu_table(data_of(results, "ncu")), ""]
    if data_of(results, "libraries"):
        text += ["## Kernels", "",
                 "bfloat16, medians. The library is cuDNN for convolutions and cuBLASLt for matrices, each with "
                 "the fastest way it proposes; torch is eager or compiled, whichever is faster. A ratio above 1: "
                 "Imago is faster.", "", kernels_table(results, "warm"), "", kernels_table(results, "cold"), ""]
    profiled = [row for row in data_of(results, "steps") or [] if row.get("profile")]
    if profiled:
        text += ["## Where the time goes", ""]
        for row in profiled:
            text += [sentence(row), "", profile_table(row), ""]
    return "\n".join(text)

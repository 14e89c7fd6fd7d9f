#!/usr/bin/env python3
"""docs/evaluation_example.md and its plot, from bench/results/fashion_mnist_guided.json.

    python3 bench/evaluation_page.py            # writes them
    python3 bench/evaluation_page.py --check    # exit code 1 if they are not what the file says

The file holds the field "samples" of two evaluation.json that evaluate_ddpm wrote, the commands, and the machine.
"""

import json
import sys

import generated
import svg
from machine import ROOT
from tables import markdown

RESULTS = ROOT / "bench/results/fashion_mnist_guided.json"
PLOT = "images/evaluation/frechet_by_steps.svg"
LONGEST = 0.8  # of the plot's axis; what is farther away is in the table

TEXT = """# An example: a class-conditional model of Fashion-MNIST

Made by `python3 bench/evaluation_page.py` from [{name}](../bench/results/{name}): change that, not this page.
What the figures mean: [evaluation](evaluation.md).

{date}, {machine}.

```sh
{commands}
```

{train_note}

## Samplers and steps

{images} images a point, as many of each class, without guidance, all from the same noise, against the 10,000 test images.
Features are the classifier's, so distances compare with each other, not with those of Inception. `evaluations`: how often the
network is asked an image.

{samplers}
![Frechet distance by number of steps]({plot})

The multistep solvers are there at 5 to 10 evaluations. DDPM wants many steps for its distance, but its samples are of the class
asked for more often: it makes good for errors on the way by its noise. Heun's second-order steps are too long at first.

## Guidance

UniPC, 20 steps. Guidance trades recall for precision of class, and overshoots from about 3.

{guidance}
DDIM needs care here: with `clip_sample`, which its scheduler's configuration sets, it clamps the predicted image but takes the
noise from before the clamp, and from guidance 2 on loses the class. Either of two options
cures it ({ddim_settings}): {ddim}.
"""


def samplers_table(rows):
    return markdown(["sampler", "steps", "evaluations", "Frechet distance", "of the class asked for"],
                    [[r["sampler"], r["steps"], r["evaluations"], f"{r['frechet_distance']:.3f}",
                      f"{100 * r['accuracy']:.1f} %"] for r in rows])


def guidance_table(rows):
    return markdown(["guidance", "Frechet distance", "precision", "recall", "of the class asked for"],
                    [[f"{r['guidance_scale']:g}", f"{r['frechet_distance']:.3f}", f"{r['precision']:.3f}",
                      f"{r['recall']:.3f}", f"{100 * r['accuracy']:.1f} %"] for r in rows])


def plot(rows):
    series = {}
    for r in rows:
        if r["frechet_distance"] <= LONGEST:
            series.setdefault(r["sampler"], []).append((r["steps"], r["frechet_distance"]))
    return svg.curves(f"Frechet distance by number of steps (up to {LONGEST:g})", "steps", "distance", series)


def pages():
    """{path: text} of all that is generated."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = TEXT.format(name=RESULTS.name, plot=PLOT, commands="\n".join([*found["train"], *found["evaluate"]]),
                       images=found["samplers"][0]["images"], samplers=samplers_table(found["samplers"]),
                       guidance=guidance_table(found["guidance"]),
                       ddim=", ".join(f"`{r['option']}` {100 * r['accuracy']:.1f} %" for r in found["ddim"]),
                       **{key: found[key] for key in ("date", "machine", "train_note", "ddim_settings")})
    return {ROOT / "docs/evaluation_example.md": text, ROOT / "docs" / PLOT: plot(found["samplers"])}


if __name__ == "__main__":
    sys.exit(generated.main("evaluation_page", __doc__, pages()))

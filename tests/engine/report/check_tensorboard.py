#!/usr/bin/env python3
"""Reads the event files of a run with the real TensorBoard and says what it finds there.

    python3 check_tensorboard.py FOLDER       tags, points and images; fails if a curve's steps do not rise or
                                              an image is not of the size that its event says
    python3 check_tensorboard.py --records    the records that event_file_test.cpp expects, as TensorBoard
                                              writes them

Needs the packages tensorboard and pillow.
"""
import io
import sys

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def rising(steps):
    return all(a < b for a, b in zip(steps, steps[1:]))


def check_folder(folder):
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    problems = []
    for tag in tags["scalars"]:
        points = events.Scalars(tag)
        steps = [p.step for p in points]
        print(f"{tag}: {len(points)} points, steps {steps[0]} to {steps[-1]}, last {points[-1].value:g}")
        if not rising(steps):
            problems.append(f"{tag}: the steps do not rise")
    for tag in tags["images"]:
        images = events.Images(tag)
        steps = [i.step for i in images]
        print(f"{tag}: {len(images)} images, steps {steps[0]} to {steps[-1]}, last {images[-1].width}x{images[-1].height}")
        if not rising(steps):
            problems.append(f"{tag}: the steps do not rise")
        for i in images:
            size = Image.open(io.BytesIO(i.encoded_image_string)).size
            if size != (i.width, i.height):
                problems.append(f"{tag}, step {i.step}: {size} pixels, {i.width}x{i.height} expected")
    if not tags["scalars"] and not tags["images"]:
        problems.append(f"{folder}: no scalars and no images")
    return problems


def print_records():
    png = b"\x89PNG\r\n\x1a\n" + bytes(200)
    image = Summary.Image(height=2, width=300, colorspace=3, encoded_image_string=png)
    for event in [
        Event(file_version="brain.Event:2"),
        Event(step=301, session_log=SessionLog(status=SessionLog.START)),
        Event(step=1234567, summary=Summary(value=[Summary.Value(tag="loss/total", simple_value=0.1)])),
        Event(step=0, summary=Summary(value=[Summary.Value(tag="zero", simple_value=0.0)])),
        Event(step=200, summary=Summary(value=[Summary.Value(tag="samples", image=image)])),
    ]:
        event.wall_time = 1700000000.25
        file = io.BytesIO()
        RecordWriter(file).write(event.SerializeToString())
        print(file.getvalue().hex())


def main():
    if sys.argv[1:] == ["--records"]:
        print_records()
        return
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    problems = check_folder(sys.argv[1])
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()

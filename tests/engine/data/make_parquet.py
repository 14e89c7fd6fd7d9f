#!/usr/bin/env python3
"""Writes the Parquet files of parquet_test.cpp with pyarrow and Hugging Face datasets.

    python3 make_parquet.py parquet/

Every file in same/ has the same content, written in another way: 12 rows; image i is a 4x4 RGB PNG whose
sample (y, x, c) is (37 i + 50 y + 11 x + 90 c) mod 256; rows 3 and 8 have no image; label i mod 3, null in
row 5; the class names are cat, dog, owl. Those in whole/ are the same without nulls. labels/ has other
columns of labels, refused/ what cannot be read, long_headers.parquet a page header of more than 4 kB.
"""
import io
import json
import pathlib
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROWS = 12
NAMES = ["cat", "dog", "owl"]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}


def pixels(i):
    y, x, c = np.meshgrid(range(4), range(4), range(3), indexing="ij")
    return ((37 * i + 50 * y + 11 * x + 90 * c) % 256).astype(np.uint8)


def png(i):
    file = io.BytesIO()
    Image.fromarray(pixels(i)).save(file, "png")
    return file.getvalue()


def images(nulls=True, kind="struct"):
    rows = []
    for i in range(ROWS):
        if nulls and i == 3:
            rows.append(None)
        elif kind == "bytes":
            rows.append(None if nulls and i == 8 else png(i))
        else:
            rows.append({"bytes": None if nulls and i == 8 else png(i), "path": None if i % 2 else f"{i}.png"})
    return rows


def labels(nulls=True):
    return [None if nulls and i == 5 else i % 3 for i in range(ROWS)]


def table(nulls=True, kind="struct", column="image", label="label", label_type=pa.int64(), values=None, named=True):
    image_type = pa.binary() if kind == "bytes" else pa.struct({"bytes": pa.binary(), "path": pa.string()})
    values = labels(nulls) if values is None else values
    columns = {
        "id": pa.array([f"row {i}" for i in range(ROWS)]),
        column: pa.array(images(nulls, kind), image_type),
        "tags": pa.array([["a", "b"][: i % 3] for i in range(ROWS)]),
        label: pa.array(values, label_type),
    }
    t = pa.table(columns)
    features = {label if k == "label" else k: v for k, v in FEATURES.items()}
    return t.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}) if named else t


def write(path, t, row_group_size=5, **options):
    """Several row groups with several pages each, unless the options say otherwise. Arrow's own copy of the
    schema, which would be most of the file, is left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"data_page_size": 1, "write_batch_size": 2, "store_schema": False} | options
    with pq.ParquetWriter(path, t.schema, **options) as writer:
        writer.write_table(t, row_group_size=row_group_size)
        if t.schema.metadata:
            writer.add_key_value_metadata(t.schema.metadata)


def write_same(out):
    for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
        for version in ["1.0", "2.0"]:
            for dictionary in [False, True]:
                name = f"{codec}_v{version[0]}_{'dictionary' if dictionary else 'plain'}.parquet"
                write(out / name, table(), compression=codec, data_page_version=version, use_dictionary=dictionary)
    write(out / "one_row_group.parquet", table(), row_group_size=ROWS, data_page_size=1 << 20)
    write(out / "checksums.parquet", table(), write_page_checksum=True)
    write(out / "no_statistics.parquet", table(), write_statistics=False)
    write(out / "page_index.parquet", table(), write_page_index=True)
    write(out / "binary_column.parquet", table(kind="bytes"))
    write(out / "img.parquet", table(column="img"))
    write(out / "labels_int32.parquet", table(label="labels", label_type=pa.int32()))
    write(out / "fine_label_uint8.parquet", table(label="fine_label", label_type=pa.uint8()))
    for version in ["1.0", "2.0"]:
        for images_in in ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]:
            encoding = {"image.bytes": images_in, "label": "DELTA_BINARY_PACKED"}
            write(out / f"{images_in.lower()}_v{version[0]}.parquet", table(), use_dictionary=False,
                  data_page_version=version, column_encoding=encoding)


def write_whole(out):
    required = pa.schema([
        pa.field("image", pa.struct([pa.field("bytes", pa.binary(), nullable=False),
                                     pa.field("path", pa.string())]), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
    ], metadata=table().schema.metadata)
    data = {"image": images(nulls=False), "label": labels(nulls=False)}
    for version in ["1.0", "2.0"]:
        write(out / f"required_v{version[0]}.parquet", pa.table(data, schema=required), data_page_version=version)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    frames = [Image.fromarray(pixels(i)) for i in range(ROWS)]
    hub = datasets.Dataset.from_dict({"image": frames, "label": labels(nulls=False)}, features=features)
    hub.to_parquet(out / "datasets_library.parquet")
    hub.to_parquet(out / "datasets_library_batches.parquet", batch_size=5)


def write_labels(out):
    """Other columns of labels, without class names."""
    write(out / "booleans_v1.parquet", table(label_type=pa.bool_(), values=[i % 2 == 1 for i in range(ROWS)], named=False))
    write(out / "booleans_rle.parquet", table(label_type=pa.bool_(), values=[i % 2 == 1 for i in range(ROWS)], named=False),
          data_page_version="2.0", column_encoding={"label": "RLE"}, use_dictionary=False)
    write(out / "unnamed.parquet", table(named=False))
    write(out / "hidden.parquet", table(values=[-1] * ROWS))
    write(out / "text.parquet", table(label_type=pa.string(), values=["cat"] * ROWS))
    write(out / "lists.parquet", table(label_type=pa.list_(pa.int64()), values=[[1]] * ROWS))
    write(out / "too_large.parquet", table(values=[3] * ROWS))
    write(out / "absurd.parquet", table(values=[1 << 40] * ROWS, named=False))


def write_refused(out):
    write(out / "brotli.parquet", table(), compression="brotli")
    write(out / "byte_stream_split.parquet", table(), use_dictionary=False, column_encoding={"label": "BYTE_STREAM_SPLIT"})
    write(out / "no_image.parquet", table(column="photo"))
    write(out / "image_urls.parquet", pa.table({"image": ["http://x/1.png"]}))
    write(out / "image_lists.parquet", pa.table({"image": pa.array([[b"x"]], pa.list_(pa.binary()))}))
    write(out / "image_numbers.parquet", pa.table({"image": [1]}))
    write(out / "image_struct.parquet", pa.table({"image": [{"data": b"x"}]}))
    write(out / "image_nulls.parquet", pa.table({"image": pa.array([None, None], pa.binary())}))
    write(out / "empty.parquet", table().slice(0, 0))
    write(out / "not_json.parquet", table().replace_schema_metadata({"huggingface": "{"}))


def write_long_headers(out):
    """One row of 32x32 random pixels, about 3 kB, which page headers repeat as smallest and largest value."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "png")
    write(out / "long_headers.parquet", pa.table({"image": [file.getvalue()]}), use_dictionary=False)


def main():
    out = pathlib.Path(sys.argv[1])
    write_same(out / "same")
    write_whole(out / "whole")
    write_labels(out / "labels")
    write_refused(out / "refused")
    write_long_headers(out)


if __name__ == "__main__":
    main()

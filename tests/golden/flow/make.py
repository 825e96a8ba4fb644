"""Writes expected.safetensors: the beginning of the notebook's trajectories, copied from a file that holds all.

`python make.py .../oracle/flow/expected.safetensors`. That file was made by the code of
visualizations/toy_experiments.ipynb (github.com/tml-epfl/softmax) under NumPy 2.4 in float64; it is too large
to be committed. Kept are the records of the first STEPS steps, and of the tied model, whose end is recorded,
the smallest one as a whole.
"""

import json
import pathlib
import struct
import sys

STEPS = 300


def load(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def steps(tensors, prefix):
    for name in ("iterations", "idx"):
        if f"{prefix}/{name}" in tensors:
            _, (count,), data = tensors[f"{prefix}/{name}"]
            return struct.unpack(f"<{count}q", data)
    return None


def beginning(tensors):
    kept = {}
    for name, (dtype, shape, data) in tensors.items():
        prefix, quantity = name.rsplit("/", 1)
        recorded = steps(tensors, prefix)
        if recorded is None:
            if prefix == "tied/10":
                kept[name] = (dtype, shape, data)
        elif not quantity.endswith("_final"):
            rows = sum(step < STEPS for step in recorded)
            width = len(data) // shape[0]
            kept[name] = (dtype, [rows] + shape[1:], data[:rows * width])
    return kept


def save(tensors, path):
    header, body = {}, b""
    for name, (dtype, shape, data) in sorted(tensors.items()):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


save(beginning(load(sys.argv[1])), pathlib.Path(__file__).with_name("expected.safetensors"))

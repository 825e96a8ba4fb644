"""Writes data files and, in expected.json, the rows that Hugging Face's `datasets` finds in them.

`pip install datasets pyarrow`; expected.json names the versions used. The parquet file has row groups
of three rows, dictionary encoding, a null, and a nested column beside the texts, as pile-10k has; gzip.parquet
and lz4.parquet hold the same texts in other compressions, of which the second is not supported.
"""

import json
import pathlib
import tempfile

import datasets
import pyarrow
import pyarrow.parquet

here = pathlib.Path(__file__).parent
(here / "lines.txt").write_bytes("first\n\nthird \r\n\rfifth: ä\u2028still fifth\x0band so on\n  \nlast without end".encode())
(here / "lines.jsonl").write_bytes(
    b'{"text": "caf\\u00e9 \\ud83d\\ude00", "meta": {"set": "a", "n": [1, 2]}}\n'
    b"\n"
    b'  {"meta": {"set": "b", "n": []}, "text": "two\\nlines"}\r\n'
    b"   \n"
    b'{"text": null, "meta": null}\n'
    b'{"meta": {"set": "d", "n": [3]}}\n'
    b'{"text": "", "meta": null}\n'
    b'{"text": "no newline at the end", "meta": null}'
)
texts = ["zero", "one\ntwo", None, "", "vier ä", "zero", "zero", "seven" * 400, "acht", "nine"]
table = pyarrow.table({
    "id": list(range(len(texts))),
    "meta": [{"pile_set_name": f"set {i % 2}", "tags": ["x"] * (i % 3)} for i in range(len(texts))],
    "text": texts,
})
pyarrow.parquet.write_table(table, here / "texts.parquet", row_group_size=3, compression="snappy")

expected = {"datasets": datasets.__version__, "pyarrow": pyarrow.__version__}
with tempfile.TemporaryDirectory() as cache:
    for loader, name in [("text", "lines.txt"), ("json", "lines.jsonl"), ("parquet", "texts.parquet")]:
        rows = datasets.load_dataset(loader, data_files=str(here / name), split="train", cache_dir=cache)
        expected[name] = rows["text"][:]
(here / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
for codec in ["lz4", "gzip"]:
    pyarrow.parquet.write_table(table.select(["text"]), here / f"{codec}.parquet", compression=codec)

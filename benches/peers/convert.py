"""Converts an axlearn gala checkpoint the usual way: TensorStore reads arrays, NumPy turns them around, safetensors
writes them. What `attnscope convert axlearn` is measured against.

    venv/bin/pip install -r requirements.txt
    venv/bin/python convert.py STEP_DIR OUT_DIR [--dtype bf16]
"""

import argparse
import json
import os
import resource
import time

import ml_dtypes
import numpy as np
import tensorstore as ts
from safetensors.numpy import save_file

LAYER = "transformer/repeat/layer/"
NORMS = {
    "self_attention/prenorm": "input_layernorm",
    "self_attention/postnorm": "post_attention_layernorm",
    "feed_forward/prenorm": "pre_feedforward_layernorm",
    "feed_forward/postnorm": "post_feedforward_layernorm",
    "self_attention/attention/scale_query/norm": "self_attn.q_norm",
    "self_attention/attention/scale_key/norm": "self_attn.k_norm",
}
LINEARS = {"linear1_0": "gate", "linear1_1": "up", "linear2": "down"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("step")
    parser.add_argument("out")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    args = parser.parse_args()
    os.makedirs(args.out)
    start = time.time()
    dtype = {"f32": np.float32, "bf16": ml_dtypes.bfloat16}[args.dtype]
    weight_map, total = {}, 0

    def read(path):
        kvstore = {"driver": "file", "path": f"{args.step}/gda/model/decoder/{path}"}
        return ts.open({"driver": "zarr", "kvstore": kvstore}).result().read().result()

    def write(name, tensors):
        # An array at a time: the whole model would not fit.
        nonlocal total
        tensors = {key: np.ascontiguousarray(value).astype(dtype) for key, value in tensors.items()}
        file = f"model-{name}.safetensors"
        save_file(tensors, f"{args.out}/{file}", metadata={"format": "pt"})
        weight_map.update({key: file for key in tensors})
        total += sum(value.nbytes for value in tensors.values())

    write("embed", {"model.embed_tokens.weight": read("emb/token_emb/weight")})
    write("norm", {"model.norm.weight": read("output_norm/scale")})
    name = "model.layers.{}.{}.weight".format
    for source, target in NORMS.items():
        a = read(LAYER + source + "/scale")
        write(target, {name(i, target): a[i] for i in range(len(a))})
    for source, target in LINEARS.items():
        a = read(LAYER + f"feed_forward/{source}/weight")
        write(target, {name(i, f"mlp.{target}_proj"): a[i].T for i in range(len(a))})
    a = read(LAYER + "self_attention/attention/o_proj/weight")
    write("o", {name(i, "self_attn.o_proj"): a[i].reshape(a.shape[1], -1) for i in range(len(a))})
    a = read(LAYER + "self_attention/attention/i_proj/qkv_proj/weight")
    for p, x in enumerate("qkv"):
        write(x, {name(i, f"self_attn.{x}_proj"): a[i, p].reshape(a.shape[2], -1).T for i in range(len(a))})
    with open(f"{args.out}/model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file)
    print(json.dumps({
        "seconds": time.time() - start,
        "written_bytes": total,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()

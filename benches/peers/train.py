"""Steps per second of the paper's PyTorch model on the induction task.

`python train.py --source DIR`, DIR being a clone of https://github.com/tml-epfl/softmax, trains its `TransformerLM` as its
`exp_induction.py` does (2 layers, width 128, 4 heads, batches of 256 x 12 tokens, AdamW) on batches that are in memory
before the clock starts, and prints JSON: steps per second for every attention function and number of threads.
"""

import argparse
import json
import random
import sys
import time

import torch
import torch.nn.functional as F


def batch(count, vocab_size=50, seq_length=13):
    rows = []
    for _ in range(count):
        tokens = random.sample(range(1, vocab_size), seq_length - 3)
        at = random.randint(0, seq_length - 4)
        repeated = tokens[at] + vocab_size
        rows.append([0] + tokens + [repeated, (tokens + [repeated])[at + 1]])
    return torch.tensor(rows)


def step(model, optimizer, rows):
    optimizer.zero_grad()
    logits, _ = model(rows[:, :-1])
    targets = rows[:, 1:]
    start = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets[:, :-1])
    main = F.cross_entropy(logits[:, -1], targets[:, -1])
    loss = start * 0.2 + main
    loss.backward()
    optimizer.step()
    return loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True)
    parser.add_argument("--attention", nargs="+", default=["softmax", "sigmoid_unnorm", "mlp_norm"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--positions", default="add")
    parser.add_argument("--seconds", type=float, default=4)
    args = parser.parse_args()
    sys.path.insert(0, args.source)
    from src.model import TransformerLM

    random.seed(0)
    batches = [batch(256) for _ in range(8)]
    paces = {}
    for attention in args.attention:
        for threads in args.threads:
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            model = TransformerLM(
                vocab_size=100, embed_dim=128, output_dim=100, num_layers=2, num_heads=4,
                attention_type=attention, positional_type=args.positions,
            )
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
            for rows in batches[:2]:
                step(model, optimizer, rows)
            began, steps = time.perf_counter(), 0
            while time.perf_counter() - began < args.seconds:
                step(model, optimizer, batches[steps % len(batches)])
                steps += 1
            paces[f"{attention}, {threads}"] = steps / (time.perf_counter() - began)
    print(json.dumps({"torch": torch.__version__, "steps_per_second": paces}))


if __name__ == "__main__":
    main()

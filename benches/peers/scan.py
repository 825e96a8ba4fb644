#!/usr/bin/env python3
"""The work of `attnscope scan`, done the usual way: PyTorch, eager attention, every map returned.

    python scan.py --model CHECKPOINT --dataset texts.jsonl --n-samples 64 --json > peer.json
    attnscope scan --model CHECKPOINT --dataset texts.jsonl --n-samples 64 --out scan --json > attnscope.json
    python scan.py ... --against attnscope.json        # the same, and how far the scores are apart

`--model llama-random` runs transformers' own LlamaModel with random weights on random tokens instead:
nothing of ours in it, so it says what the usual program gets out of the machine.

What is timed, what is counted and why: README.md.
"""

import argparse
import json
import random
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

# Added to a row's total before dividing by it, as the authors of the scores do.
TOTAL_EPSILON = 1e-9
SCORES = ("sparsity_score", "first_token_share", "max_weight", "total_weight", "entropy")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a gala checkpoint directory, or llama-random")
    parser.add_argument("--dataset", help="a .jsonl or .parquet file (not for llama-random)")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--n-samples", default="1000", help="a number, or all")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--max-seq-len", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, help="default: what PyTorch takes by itself")
    parser.add_argument("--lm-head", action="store_true", help="compute the logits too, as AutoModelForCausalLM does")
    parser.add_argument("--against", help="a file with the output of attnscope scan --json, to compare scores with")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, scores of all heads included")
    llama = parser.add_argument_group("sizes of llama-random")
    llama.add_argument("--layers", type=int, default=8)
    llama.add_argument("--hidden-size", type=int, default=1024)
    llama.add_argument("--heads", type=int, default=16)
    llama.add_argument("--intermediate-size", type=int, default=2816)
    llama.add_argument("--vocab-size", type=int, default=32768)
    return parser.parse_args()


def read_texts(path, column):
    """The text column of a .jsonl or .parquet file."""
    if path.endswith(".parquet"):
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path, columns=[column])[column].to_pylist()
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line)[column] for line in lines if line.strip()]


def draw(n_samples, seed, rows):
    """The row numbers of the sample, in the order drawn; `all` takes them as they stand."""
    if n_samples == "all":
        return list(range(rows))
    random.seed(seed)
    return random.sample(range(rows), int(n_samples))


class GalaPeer:
    """Our checkpoint and our texts, through the plain PyTorch model of gala.py."""

    def __init__(self, args):
        from gala import Gala
        from tokenizers import Tokenizer

        if args.dataset is None:
            raise SystemExit("--dataset is needed with a checkpoint")
        self.model = Gala.from_pretrained(args.model)
        self.config = self.model.config
        self.lm_head = args.lm_head
        texts = read_texts(args.dataset, args.text_column)
        texts = [texts[row].replace("\n", "<n>") for row in draw(args.n_samples, args.seed, len(texts))]
        tokenizer = Tokenizer.from_file(str(Path(args.model) / "tokenizer.json"))
        encoded = [encoding.ids[: args.max_seq_len] for encoding in tokenizer.encode_batch(texts)]
        self.sequences = [ids for ids in encoded if ids]
        self.pad_token_id = self.config.pad_token_id

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids, attention_mask, lm_head=self.lm_head)[-1]


class LlamaPeer:
    """transformers' LlamaModel, random weights, `n_samples` random sequences of full length."""

    def __init__(self, args):
        from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

        torch.manual_seed(args.seed)
        self.config = LlamaConfig(
            hidden_size=args.hidden_size,
            intermediate_size=args.intermediate_size,
            num_hidden_layers=args.layers,
            num_attention_heads=args.heads,
            num_key_value_heads=args.heads,
            head_dim=args.hidden_size // args.heads,
            vocab_size=args.vocab_size,
            max_position_embeddings=args.max_seq_len,
            attn_implementation="eager",
        )
        self.model = (LlamaForCausalLM if args.lm_head else LlamaModel)(self.config).eval()
        self.lm_head = args.lm_head
        shape = (int(args.n_samples), args.max_seq_len)
        self.sequences = torch.randint(1, args.vocab_size, shape).tolist()
        self.pad_token_id = 0

    def forward(self, input_ids, attention_mask):
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, output_attentions=True, use_cache=False
        )
        return output.attentions


def pad(sequences, pad_token_id):
    """(input_ids, attention_mask), padded on the right to the longest sequence of the batch."""
    length = max(map(len, sequences))
    input_ids = torch.full((len(sequences), length), pad_token_id)
    attention_mask = torch.zeros((len(sequences), length), dtype=torch.long)
    for row, ids in enumerate(sequences):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
    return input_ids, attention_mask


def add_statistics(sums, attentions, counted):
    """Adds each counted row's five statistics to `sums`, (layers, 5, heads), in float64.

    attentions: per layer (batch, heads, q_len, kv_len); counted: (batch, q_len), false for padding.
    """
    for layer, attn_weights in enumerate(attentions):
        total = attn_weights.sum(-1)
        largest = attn_weights.amax(-1)
        first = attn_weights[..., 0]
        # a sigmoid row can carry no weight at all: its entropy is 0, not NaN
        share = attn_weights / total.clamp(min=torch.finfo(total.dtype).tiny).unsqueeze(-1)
        entropy = torch.special.entr(share).sum(-1)
        divisor = total + TOTAL_EPSILON
        rows = torch.stack((largest / divisor, first / divisor, largest, total, entropy))
        # (5, batch, heads, q_len), with zero where the query is padding
        rows = rows.double().masked_fill(~counted[None, :, None, :], 0.0)
        sums[layer] += rows.sum(dim=(1, 3))


def scan(peer, batch_size):
    """Forward pass and statistics of all batches, and matrix products between them, so that whatever else the
    machine does disturbs both alike. Returns (per-head means, counts, seconds, FLOP/s of the products)."""
    heads, layers = peer.config.num_attention_heads, peer.config.num_hidden_layers
    sums = torch.zeros(layers, len(SCORES), heads, dtype=torch.float64)
    counts = {"tokens": 0, "padded_tokens": 0, "useful_flops": 0, "executed_flops": 0}
    batches = [
        pad(peer.sequences[start : start + batch_size], peer.pad_token_id)
        for start in range(0, len(peer.sequences), batch_size)
    ]
    warm_up = torch.zeros_like(sums)
    seconds, products = 0.0, []
    gemm_rows = max(input_ids.numel() for input_ids, _ in batches)
    with torch.no_grad():
        for number, (input_ids, attention_mask) in enumerate([batches[0], *batches]):
            started = time.perf_counter()
            attentions = peer.forward(input_ids, attention_mask)
            counted = attention_mask.bool() & (input_ids != peer.pad_token_id)
            add_statistics(sums if number else warm_up, attentions, counted)
            del attentions
            if number == 0:
                continue
            seconds += time.perf_counter() - started
            products += gemm_seconds(gemm_rows, peer.config)
            counts["tokens"] += int(counted.sum())
            counts["padded_tokens"] += input_ids.numel()
            for length in attention_mask.sum(-1).tolist():
                counts["useful_flops"] += flops(peer, length, length * (length + 1) // 2)
                counts["executed_flops"] += flops(peer, input_ids.shape[1], input_ids.shape[1] ** 2)
            print(f"\r{number}/{len(batches)} batches", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    gemm_flops = 2 * gemm_rows * peer.config.hidden_size * peer.config.intermediate_size
    return sums / counts["tokens"], counts, seconds, gemm_flops / statistics.median(products)


def flops(peer, tokens, pairs):
    """Multiplications and additions in the matrix products of one sequence: the linear layers at `tokens`
    positions, scores and weighted values at `pairs` (query, key) pairs."""
    config = peer.config
    width = config.num_attention_heads * config.head_dim
    linear = 4 * config.hidden_size * width + 3 * config.hidden_size * config.intermediate_size
    total = config.num_hidden_layers * (2 * tokens * linear + 4 * pairs * width)
    return total + (2 * tokens * config.hidden_size * config.vocab_size if peer.lm_head else 0)


def gemm_seconds(tokens, config, products=3):
    """Seconds of each of a few products at the model's own shape, (tokens × hidden) · (hidden × intermediate)."""
    left = torch.randn(tokens, config.hidden_size)
    right = torch.randn(config.intermediate_size, config.hidden_size).T
    product = torch.matmul(left, right)
    seconds = []
    for _ in range(products):
        started = time.perf_counter()
        torch.matmul(left, right, out=product)
        seconds.append(time.perf_counter() - started)
    return seconds


def peak_rss():
    """Largest resident set of this process so far, in bytes (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def compare(heads, tokens, path):
    """Largest difference per score from what attnscope printed for the same model and texts."""
    theirs = json.loads(Path(path).read_text(encoding="utf-8"))
    if theirs["tokens"] != tokens:
        raise SystemExit(f"{path}: {theirs['tokens']} tokens, {tokens} here: not the same texts")
    scores = {(head["layer"], head["head"]): head for head in theirs["heads"]}
    if scores.keys() != {(head["layer"], head["head"]) for head in heads}:
        raise SystemExit(f"{path}: other layers and heads than this model has")
    differences = torch.tensor(
        [[head[score] - scores[head["layer"], head["head"]][score] for score in SCORES] for head in heads]
    )
    # a tensor's maximum is NaN if any difference is; Python's need not be
    return dict(zip(SCORES, differences.abs().amax(0).tolist()))


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    rss_imports = peak_rss()
    peer = (LlamaPeer if args.model == "llama-random" else GalaPeer)(args)
    if not peer.sequences:
        raise SystemExit("no sample has a token")

    means, counts, seconds, gemm = scan(peer, args.batch_size)
    heads = [
        {"layer": layer, "head": head, **{score: means[layer, i, head].item() for i, score in enumerate(SCORES)}}
        for layer in range(means.shape[0])
        for head in range(means.shape[2])
    ]
    result = {
        "model": args.model,
        "samples": len(peer.sequences),
        **counts,
        "seconds": seconds,
        "tokens_per_second": counts["tokens"] / seconds,
        "gemm_gflops": gemm / 1e9,
        "gemm_share": counts["useful_flops"] / seconds / gemm,
        "gemm_share_executed": counts["executed_flops"] / seconds / gemm,
        "peak_rss_bytes": peak_rss(),
        "rss_after_imports_bytes": rss_imports,
        "threads": torch.get_num_threads(),
        "lm_head": args.lm_head,
        "torch": torch.__version__,
    }
    if args.against:
        result["largest_differences"] = compare(heads, counts["tokens"], args.against)
    if args.json:
        print(json.dumps({**result, "heads": heads}))
        return
    for key, value in result.items():
        print(f"{key:24} {value:.4g}" if isinstance(value, float) else f"{key:24} {value}")


if __name__ == "__main__":
    main()

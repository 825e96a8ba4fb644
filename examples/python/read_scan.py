"""Reads scans with pandas and with polars, and draws how their heads' sparsity scores are distributed.

    pip install pandas polars pyarrow matplotlib
    attnscope demo --out demo
    python examples/python/read_scan.py demo/demo-softmax demo/demo-sigmoid histogram.png
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import polars as pl


def with_pandas(scan):
    heads = pd.read_parquet(scan / "heads.parquet")
    samples = pd.read_parquet(scan / "samples.parquet")
    sums = samples.groupby(["layer", "head"])[["max_share_sum", "tokens", "non_finite_rows"]].sum()
    pooled = sums["max_share_sum"] / (sums["tokens"] - sums["non_finite_rows"])
    return heads["sparsity_score"], pooled, samples["sample"].nunique()


def with_polars(scan):
    heads = pl.read_parquet(scan / "heads.parquet")
    samples = pl.read_parquet(scan / "samples.parquet")
    score = pl.col("max_share_sum").sum() / (pl.col("tokens") - pl.col("non_finite_rows")).sum()
    pooled = samples.group_by("layer", "head").agg(score.alias("pooled"))["pooled"]
    return heads["sparsity_score"], pooled, samples["sample"].n_unique()


def main(first, second, picture):
    for scan in map(Path, [first, second]):
        for read in [with_pandas, with_polars]:
            scores, pooled, samples = read(scan)
            print(f"{read.__name__} {scan.name}: {len(scores)} heads, {samples} samples,", end=" ")
            print(f"mean sparsity score {scores.mean():.15f}, from the samples {pooled.mean():.15f}")
        counts, _, _ = plt.hist(scores, bins=20, range=(0, 1), alpha=0.5, label=scan.name)
        print(f"histogram {scan.name}: {[int(count) for count in counts]}")
    plt.xlabel("sparsity score (mean of max / total)")
    plt.ylabel("heads")
    plt.legend()
    plt.savefig(picture)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

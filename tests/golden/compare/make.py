"""Writes small scans and expected.json: what NumPy, SciPy and CPython make of them.

Needs NumPy, SciPy and PyArrow. Each scan is one samples.parquet with its facts in the footer. Statistics are
NumPy's, distances scipy.stats.wasserstein_distance and ks_2samp, exact p-values over all heads
scipy.stats.permutation_test over all permutations. p-values within layers, p-values of drawn permutations and
bootstrap intervals are computed here, plainly, with the draws that CPython's `random` gives for the seed.
"""

import itertools
import json
import pathlib
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy
from scipy import stats

HERE = pathlib.Path(__file__).parent
METRICS = {
    "sparsity_score": "max_share_sum",
    "max_weight": "max_weight_sum",
    "first_token_share": "first_share_sum",
    "entropy": "entropy_sum",
    "total_weight": "total_weight_sum",
}
THRESHOLDED = {"sparsity_score", "max_weight", "first_token_share"}
SUMS = ["max_share_sum", "first_share_sum", "max_weight_sum", "total_weight_sum", "entropy_sum"]
FACTS = {
    "attnscope.version": "0.1.0",
    "attnscope.dataset": "texts.jsonl",
    "attnscope.text_column": "text",
    "attnscope.n_samples": "8",
    "attnscope.seed": "42",
    "attnscope.indices_sha256": "ab" * 32,
    "attnscope.max_seq_len": "64",
    "attnscope.special_tokens": "none",
    "attnscope.dtype": "f32",
    "attnscope.device": "cpu",
}


def make_scan(name, seed, layers, heads, samples, level, sigmoid, facts, ties=()):
    """`ties` are heads (layer, head) that have the sums of head (0, 0)."""
    rng = random.Random(seed)
    rows = []
    for layer in range(layers):
        means = [min(0.97, max(0.02, rng.gauss(level, 0.25))) for _ in range(heads)]
        for position, sample in enumerate(samples):
            tokens = 3 + (7 * sample) % 29
            for head in range(heads):
                non_finite = 1 if (sample + head + layer) % 11 == 0 else 0
                finite = tokens - non_finite
                share = min(1.0, max(0.0, rng.gauss(means[head], 0.1)))
                total = rng.uniform(0.5, 3.0) if sigmoid else 1.0
                first = share * rng.uniform(0.0, 1.0)
                if head == heads - 1:
                    share, first = 0.99 - rng.random() / 50, 0.95 - rng.random() / 50
                values = [share, first, share * total, total, rng.uniform(0.1, 3.0)]
                rows.append([sample, layer, head, tokens] + [v * finite for v in values] + [non_finite])
    first_head = {row[0]: row[3:] for row in rows if (row[1], row[2]) == (0, 0)}
    for row in rows:
        if (row[1], row[2]) in ties:
            row[3:] = first_head[row[0]]
    names = ["sample", "layer", "head", "tokens"] + SUMS + ["non_finite_rows"]
    types = [pa.int64(), pa.int32(), pa.int32(), pa.int64()] + [pa.float64()] * 5 + [pa.int64()]
    fields = [pa.field(n, t, nullable=False) for n, t in zip(names, types)]
    metadata = {} if facts is None else {**FACTS, "attnscope.model": name, **facts}
    table = pa.table([pa.array(c, t) for c, t in zip(zip(*rows), types)], schema=pa.schema(fields))
    with pq.ParquetWriter(HERE / f"{name}.parquet", table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(metadata)


class Scan:
    def __init__(self, name):
        table = pq.read_table(HERE / f"{name}.parquet").to_pydict()
        self.name = name
        self.samples = sorted(set(table["sample"]))
        self.heads = sorted(set(zip(table["layer"], table["head"])))
        place = {s: i for i, s in enumerate(self.samples)}, {h: i for i, h in enumerate(self.heads)}
        self.matrices = {c: np.zeros((len(self.samples), len(self.heads))) for c in SUMS + ["rows"]}
        for i in range(len(table["sample"])):
            at = place[0][table["sample"][i]], place[1][(table["layer"][i], table["head"][i])]
            for column in SUMS:
                self.matrices[column][at] = table[column][i]
            self.matrices["rows"][at] = table["tokens"][i] - table["non_finite_rows"][i]

    def scores(self, metric, weights=None):
        weights = np.ones(len(self.samples)) if weights is None else weights
        with np.errstate(invalid="ignore"):
            return (weights @ self.matrices[METRICS[metric]]) / (weights @ self.matrices["rows"])

    def layers(self):
        return [[h for h in self.heads if h[0] == layer] for layer in sorted({h[0] for h in self.heads})]


def statistics(metric, scores):
    result = {"mean": np.mean(scores), "median": np.median(scores)}
    for q in (0.05, 0.25, 0.75, 0.95):
        result[f"quantile_{q}"] = np.quantile(scores, q)
    if metric in THRESHOLDED:
        for threshold in (0.5, 0.9):
            result[f"share_above_{threshold}"] = np.mean(scores > threshold)
    return {name: float(value) for name, value in result.items()}


def distances(reference, other):
    return {
        "mean_difference": float(np.mean(other) - np.mean(reference)),
        "wasserstein": float(stats.wasserstein_distance(reference, other)),
        "kolmogorov_smirnov": float(stats.ks_2samp(reference, other).statistic),
    }


def absolute(reference, other):
    return np.abs(np.array(list(distances(reference, other).values())))


def p_values(a, b, deals, exact):
    """p of the three distances; `deals` are index lists into a followed by b."""
    pooled, observed = np.concatenate([a, b]), absolute(a, b)
    extreme, count = np.zeros(3), 0
    for deal in deals:
        mask = np.zeros(len(pooled), bool)
        mask[list(deal)] = True
        permuted = absolute(pooled[mask], pooled[~mask])
        extreme += permuted >= observed - 100 * np.finfo(float).eps * observed
        count += 1
    return count, list(extreme / count if exact else (1 + extreme) / (1 + count))


def by_layer(reference, other):
    """Positions in (a followed by b) of each layer's heads: the reference's, the other's."""
    layers, start_a, start_b = [], 0, len(reference.heads)
    for ours, theirs in zip(reference.layers(), other.layers()):
        layers.append((list(range(start_a, start_a + len(ours))), list(range(start_b, start_b + len(theirs)))))
        start_a, start_b = start_a + len(ours), start_b + len(theirs)
    return layers


def number_of_deals(layers):
    return int(np.prod([scipy.special.comb(len(a) + len(b), len(a), exact=True) for a, b in layers]))


def deals_of(layers, permutations, seed):
    total = number_of_deals(layers)
    if total <= permutations:
        each = [itertools.combinations(a + b, len(a)) for a, b in layers]
        return [list(itertools.chain(*deal)) for deal in itertools.product(*each)], True
    rng, result = random.Random(seed), []
    for _ in range(permutations):
        deal = []
        for a, b in layers:
            deal += [(a + b)[i] for i in rng.sample(range(len(a) + len(b)), len(a))]
        result.append(deal)
    return result, False


def scipy_p_values(a, b):
    result = []
    for kind in range(3):
        found = stats.permutation_test(
            (a, b), lambda x, y: absolute(x, y)[kind], permutation_type="independent", vectorized=False,
            n_resamples=np.inf, alternative="greater",
        )
        result.append(float(found.pvalue))
    return result


def intervals(reference, other, shared, resamples, seed):
    """For each metric: of the statistics of both scans, and of the distances."""
    groups = [sorted({*reference.samples, *other.samples})] if shared else [reference.samples, other.samples]
    rngs = [random.Random(seed + i) for i in range(len(groups))]
    found = {metric: ([], [], []) for metric in METRICS}
    for _ in range(resamples):
        times = []
        for group, rng in zip(groups, rngs):
            drawn = [group[rng.randrange(len(group))] for _ in group]
            times.append({sample: drawn.count(sample) for sample in group})
        weights = [np.array([times[i][s] for s in scan.samples], float)
                   for i, scan in zip((0, 0) if shared else (0, 1), (reference, other))]
        for metric in METRICS:
            a, b = (scan.scores(metric, w) for scan, w in zip((reference, other), weights))
            a, b = a[np.isfinite(a)], b[np.isfinite(b)]
            found[metric][0].append(statistics(metric, a))
            found[metric][1].append(statistics(metric, b))
            found[metric][2].append(distances(a, b))
    interval = lambda values: [float(v) for v in np.quantile(values, [0.025, 0.975])]
    return {
        metric: [{name: interval([o[name] for o in outcomes]) for name in outcomes[0]} for outcomes in three]
        for metric, three in found.items()
    }


def case(name, reference, other, shared, permutations, resamples, seed):
    a, b = Scan(reference), Scan(other)
    all_heads = [(list(range(len(a.heads))), list(range(len(a.heads), len(a.heads) + len(b.heads))))]
    layered = by_layer(a, b) if len(a.layers()) == len(b.layers()) else None
    found = intervals(a, b, shared, resamples, seed)
    metrics = {}
    for metric in METRICS:
        x, y = a.scores(metric), b.scores(metric)
        deals, exact = deals_of(all_heads, permutations, seed)
        count, p = p_values(x, y, deals, exact)
        entry = {
            "statistics": [statistics(metric, x), statistics(metric, y)],
            "statistics_intervals": found[metric][:2],
            "distances": distances(x, y),
            "distances_intervals": found[metric][2],
            "p": scipy_p_values(x, y) if exact else p,
            "deals": [count, exact],
        }
        if exact:
            assert np.allclose(entry["p"], p, rtol=0, atol=1e-15), (name, metric, entry["p"], p)
        if layered:
            deals, exact = deals_of(layered, permutations, seed)
            count, entry["p_within_layers"] = p_values(x, y, deals, exact)
            entry["deals_within_layers"] = [count, exact]
        metrics[metric] = entry
    return {
        "name": name, "reference": reference, "scan": other, "same_texts": shared,
        "permutations": permutations, "resamples": resamples, "seed": seed,
        "sink_heads": [int(np.sum(s.scores("first_token_share") > 0.9)) for s in (a, b)],
        "metrics": metrics,
    }


def main():
    texts = [3, 10, 11, 24, 31, 45, 52, 60]
    make_scan("small-softmax", 1, 2, 3, texts, 0.6, False, {}, ties=[(1, 1)])
    make_scan("small-sigmoid", 2, 2, 3, texts, 0.3, True, {})
    # Another shape, and a text without a token.
    make_scan("wide", 3, 3, 5, texts[:4] + texts[5:], 0.5, True, {})
    # Other texts, cut at another length.
    make_scan("other-texts", 4, 2, 4, [1, 2, 3, 5, 8, 13], 0.5, False,
              {"attnscope.indices_sha256": "cd" * 32, "attnscope.max_seq_len": "128", "attnscope.n_samples": "6"})
    # A table that another program has written anew.
    make_scan("no-facts", 5, 2, 3, texts, 0.5, False, None)
    cases = [
        case("every permutation", "small-softmax", "small-sigmoid", True, 10000, 600, 42),
        case("some permutations", "small-softmax", "small-sigmoid", True, 300, 50, 7),
        case("another shape", "small-sigmoid", "wide", True, 2000, 300, 2**40 + 5),
        case("other texts", "small-softmax", "other-texts", False, 100, 300, 42),
    ]
    versions = {"numpy": np.__version__, "scipy": scipy.__version__, "pyarrow": pa.__version__}
    (HERE / "expected.json").write_text(json.dumps({"versions": versions, "cases": cases}, indent=1) + "\n")


main()

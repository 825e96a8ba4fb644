"""Section 3's experiments by gradient descent in NumPy, as the paper's notebook does them (float64, a Python loop).

`python flow.py --share 0.05` makes the given share of every run's steps (all of the shorter ones) and prints, as JSON, the
seconds it took, the seconds that all steps would take at that pace, and the last scores. Every step costs the same, so
that a share is enough to know the pace; `--share 1` takes half an hour. Single-threaded by nature: the arrays are
too small for NumPy to use more.
"""

import argparse
import json
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np


def softmax(a):
    e = np.exp(a - np.max(a))
    return e / e.sum()


def logistic(steps):
    np.random.seed(123)
    V, a = 0.1 * np.random.randn(8, 8), 0.0 * np.random.randn(8)
    beta = np.random.randn(8)
    beta /= np.linalg.norm(beta)
    for _ in range(steps):
        s = softmax(a)
        theta = V @ s
        g = -beta / (1 + np.exp(beta @ theta))
        upstream = V.T @ g
        V = V - 0.1 * np.outer(g, s)
        a = a - 0.1 * s * (upstream - s @ upstream)
    return a


class Normalization:
    """forward and backward of the notebook's classes."""

    def __init__(self, name):
        self.name = name

    def forward(self, z):
        if self.name == "softmax":
            return softmax(z)
        if self.name == "sigmoid":
            return 1 / (1 + np.exp(-z))
        f = {"l1": np.abs, "sum": lambda z: z, "l2": np.square, "relu": lambda z: np.maximum(0, z)}[self.name](z)
        self.n = np.sum(f) + 1e-10
        return f / self.n

    def backward(self, z, alpha, g):
        if self.name == "sigmoid":
            return alpha * (1 - alpha) * g
        centred = g - g @ alpha
        return {
            "softmax": lambda: alpha * centred,
            "l1": lambda: np.sign(z) / self.n * centred,
            "sum": lambda: centred / self.n,
            "l2": lambda: 2 * z / self.n * centred,
            "relu": lambda: centred * (z > 0) / self.n,
        }[self.name]()


def compared(name, loss, rate, steps):
    np.random.seed(42)
    beta = np.random.randn(10)
    beta /= np.linalg.norm(beta)
    np.random.seed(42)
    V, a = 0.1 * np.random.randn(10, 10), 1 + 0.1 * np.random.randn(10)
    sigma = Normalization(name)
    for _ in range(steps):
        alpha = sigma.forward(a)
        theta = V @ alpha
        if loss == "square":
            g = theta - beta
        else:
            g = -(1 - 1 / (1 + np.exp(-beta @ theta))) * beta
        upstream = V.T @ g
        V -= rate * np.outer(g, alpha)
        a -= rate * sigma.backward(a, alpha, upstream)
    return a


def conditioning(number, steps):
    np.random.seed(123)
    V, a = 1e-5 * np.random.randn(20, 20), 1e-3 * np.random.randn(20)
    left, _, right = np.linalg.svd(np.random.randn(20, 20))
    X = left @ np.diag(np.linspace(1, 1 / number, 20)) @ right
    y = np.random.randn(20)
    for _ in range(steps):
        s = softmax(a)
        g = -2 * X.T @ (y - X @ (V @ s))
        upstream = V.T @ g
        V = V - 0.001 * np.outer(g, s)
        a = a - 0.001 * s * (upstream - s @ upstream)
    return a


def kl(steps):
    np.random.seed(123)
    V, a = 0.1 * np.random.randn(10, 10), 0.0 * np.random.randn(10)
    target = softmax(10 * np.random.rand(10))
    for _ in range(steps):
        s = softmax(a)
        g = softmax(V.T @ s) - target
        upstream = V @ g
        V = V - 0.1 * np.outer(s, g)
        a = a - 0.1 * s * (upstream - s @ upstream)
    return a


def tied(size, steps):
    np.random.seed(42)
    beta = np.random.randn(size)
    beta /= np.linalg.norm(beta)
    np.random.seed(42)
    np.random.randn(size, size)
    a, U = 1 + 0.1 * np.random.randn(size), np.eye(size)
    for _ in range(steps):
        s = softmax(U @ a)
        g = -beta / (1 + np.exp(beta @ (U @ s)))
        upstream = U.T @ g
        pulled = s * (upstream - s @ upstream)
        of_a = U.T @ pulled
        U = U - 0.05 * (np.outer(g, s) + np.outer(pulled, a))
        a = a - 0.05 * of_a
    return a


NORMS = ["l1", "sum", "l2", "softmax", "relu", "sigmoid"]
# Experiment: (steps of each run, runs).
EXPERIMENTS = {
    "logistic": (1_000_000, [logistic]),
    "square": (5_000, [lambda n, name=name: compared(name, "square", 0.1, n) for name in NORMS]),
    "normalizations": (100_000, [lambda n, name=name: compared(name, "logistic", 0.5, n) for name in NORMS]),
    "conditioning": (300_000, [lambda n, number=number: conditioning(number, n) for number in range(1, 6)]),
    "kl": (10_000_000, [kl]),
    "tied": (10_000, [lambda n, size=size: tied(size, n) for size in (10, 20, 50, 100)]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.05)
    share = parser.parse_args().share
    report = {}
    for name, (steps, runs) in EXPERIMENTS.items():
        made = steps if steps <= 10_000 else max(1, int(steps * share))
        start = time.perf_counter()
        scores = [run(made) for run in runs]
        seconds = time.perf_counter() - start
        report[name] = {
            "steps": made,
            "seconds": seconds,
            "seconds_of_all": seconds * steps / made,
            "scores": [list(a) for a in scores],
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

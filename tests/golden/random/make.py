"""Writes cases.json: what CPython's `random` and NumPy's legacy generator give. Python >= 3.2, NumPy >= 1.17.

`random_sample`: `random.seed(seed); random.sample(range(population), k)`, once by the pool and once by the
set of `sample` on both sides of the limit between them; the first ten and a hash of all.
`numpy_randomstate`: after `numpy.random.seed(seed)`: randn(5), rand(4), randn(2, 3); the polar method keeps
a spare value between these calls. Floating-point numbers are written as strings, since not every JSON reader
rounds them correctly.
"""

import hashlib
import json
import pathlib
import platform
import random

import numpy

SAMPLES = [
    (10000, 1000, 42), (10000, 10, 42), (10000, 10000, 42), (10000, 1000, 0), (100000, 20, 7),
    (37, 5, 0), (37, 37, 1), (1, 1, 42), (5, 5, 123456789),
    (21, 5, 3), (22, 5, 3), (21, 6, 3), (22, 6, 3), (85, 6, 3), (86, 6, 3), (85, 21, 9), (86, 21, 9), (277, 22, 9), (278, 22, 9),
    (5000000000, 8, 42), (1000, 12, 2**32 - 1), (1000, 12, 2**32), (1000, 12, 2**64 - 1),
]


def sample(population, k, seed):
    random.seed(seed)
    indices = random.sample(range(population), k)
    joined = ",".join(map(str, indices))
    return {"population": population, "k": k, "seed": seed, "first10": indices[:10],
            "sha256_of_comma_joined": hashlib.sha256(joined.encode()).hexdigest()}


def python_random(seed):
    random.seed(seed)
    return {"seed": seed, "values": [repr(random.random()) for _ in range(5)]}


def numpy_random(seed):
    def exact(values):
        return [repr(value) for value in values.ravel().tolist()]

    numpy.random.seed(seed)
    return {"seed": seed, "randn5": exact(numpy.random.randn(5)), "then_rand4": exact(numpy.random.rand(4)),
            "then_randn2x3": exact(numpy.random.randn(2, 3))}


cases = {
    "python": platform.python_version(),
    "numpy": numpy.__version__,
    "random_sample": [sample(*case) for case in SAMPLES],
    "random_random": [python_random(seed) for seed in (0, 42, 2**40 + 3)],
    "numpy_randomstate": [numpy_random(seed) for seed in (0, 1, 42, 123, 1729, 2**32 - 1)],
}
path = pathlib.Path(__file__).with_name("cases.json")
path.write_text(json.dumps(cases, indent=1) + "\n")

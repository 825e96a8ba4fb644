"""Induction sequences as CPython's `random` draws them, written to sequences.json beside this script.

The rule (Appendix E.1 of arXiv 2603.06248): BOS, different tokens, one of them again, and the token after its first
occurrence. `random.sample` draws the tokens from the list of all but BOS, then `random.randint` the place of the one
that comes again; `shift` makes that one another symbol.
"""

import json
import pathlib
import random


def sequence(vocab, length, shift):
    tokens = random.sample(list(range(1, vocab)), length - 3)
    place = random.randint(0, len(tokens) - 1)
    again = tokens[place] + (vocab if shift else 0)
    after = tokens[place + 1] if place + 1 < len(tokens) else again
    return [0, *tokens, again, after]


cases = []
for seed, vocab, length, shift in [(0, 50, 13, True), (3, 50, 13, False), (4, 4, 5, True), (5, 300, 9, False)]:
    random.seed(seed)
    sequences = [sequence(vocab, length, shift) for _ in range(20)]
    cases.append({"seed": seed, "vocab_size": vocab, "seq_length": length, "shift": shift, "sequences": sequences})
text = ",\n".join(json.dumps(case) for case in cases)
pathlib.Path(__file__).with_name("sequences.json").write_text(f"[\n{text}\n]\n")

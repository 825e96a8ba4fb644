"""Small SentencePiece models and what the original library makes of texts.

    pip install sentencepiece==0.2.3 protobuf zstandard
    python make.py

writes <name>.model and <name>.json beside this file. Nothing random but what the seeds below say; the trainer is
run with one thread.
"""
import hashlib
import io
import json
import random
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece
import zstandard
from sentencepiece import sentencepiece_model_pb2 as model_pb2

HERE = Path(__file__).parent
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4

# What the models learn: the texts of the gala pair, and runs, so that there are pieces such as "aa", "aaaa" and "▁▁▁▁".
LINES = [json.loads(line)["text"] for line in open(HERE / "../../data/texts.jsonl", encoding="utf-8")]
LINES = [line for text in LINES for line in text.split("\n") if line.strip()]
RUNS = ["a" * n for n in range(1, 24)] + ["xa" + "a" * n + "b" for n in range(9)]
RUNS += [" " * n + "if x:" + " " * n + "return" for n in range(1, 20)]
RUNS += ["ab" * n for n in range(1, 12)] + ["=" * n for n in range(1, 30)] + ["aab" * n for n in range(1, 9)]
LINES += RUNS * 3

# Character maps of one's own: deletions and expansions with spaces; and a string of several characters.
RULES = {"A": "a", "B": "b", "C": "c", "ß": "ss", "\u00b4": " '", "#": "", "\u3000": " ", "日": "ni", "\r": "", "\u200b": "  "}
STRINGS = RULES | {"x y": "z"}

ALPHABETS = [
    "abcdefghij klmnop qrstuvwxyz", "aaaab   ", "ab", " a", "\u2581 a", "the of and is it was ", "0123456789 .,-", "<>/snpadmsk0x41",
    "日本語中文한국어", "ŽžéöüßñÅΩ", "😀👍🏽🚀", "ABC xyß´-#日本 ", "=-_*#", "\x00\x01\t\r\n\u00a0\u3000\u200b", "①②ﬁﬂ½™Ⅷ豈更ｱﾊ",
]
MARKS = ["e\u0301", "e\u0323\u0302", "①\u0301", "\u1112\u1161\u11ab", "\u3131\u314f", "か\u3099", "\u2122\ufe0f", "👨\u200d👩\u200d👧", "ﬁ\u0301", "\u0301a", "ｶﾞ", ">\u0338"]
TYPED = ["<n>", "</s>", "<s>", "<pad>", "<unk>", "<mask>", "<0x41>", "<0x0A>", "\u2581", "\u2581\u2581", "<a>", "<a><b>", "\n", "abc", "bcd"]
FIXED = ["", " ", "  ", "   ", "\u2581", " \u2581 ", "a", " a", "a ", "  a  ", "a  b", "\x00", "\n", "\n\n", " \n ", "<n>", "<n><n>", "<n> <n>", "</s>", "<0x41>", "#", "##", "# #", "a\r\nb", "\r\n", "\r\r\n\n", "x y", "\u00b4", "\u00b4\u00b4", "a \u00b4", "\u0301"]


def texts(seed, count):
    rng = random.Random(seed)

    def word():
        kind = rng.random()
        if kind < 0.12:
            return rng.choice(TYPED)
        if kind < 0.15:
            return rng.choice(MARKS)
        if kind < 0.30:
            return rng.choice(rng.choice(LINES).split())
        if kind < 0.45:
            return rng.choice("a =b") * rng.randrange(1, 12)
        return "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 7)))

    result = list(FIXED) + TYPED + MARKS
    while len(result) < count:
        alphabet = rng.choice(ALPHABETS)
        result.append(rng.choice(["", " ", "  ", "\n"]).join(word() for _ in range(rng.randrange(1, 6))))
    return result


def names(model, seed):
    """Texts that are exactly a piece, alone and between symbols."""
    rng = random.Random(seed)
    special = [p.piece for p in model.pieces if p.type != NORMAL and not p.piece.startswith("<0x")]
    normal = [p.piece for p in model.pieces if p.type == NORMAL]
    added = [piece for piece in normal if piece in ADDED]
    chosen = special + added + ["<0x41>", "<0xFF>"] + rng.sample(normal, 12)
    symbols = [p.piece for p in model.pieces if p.type == USER_DEFINED][:2] or ["\n"]
    return [text for name in chosen for s in symbols for text in (name, s + name + s, s + name)]


# Texts of some 300 kB: a unit, and how often it is repeated.
LONG = [("a", 300_000), (" ", 300_000), ("\u2581", 100_000), ("ab", 150_000), ("\r", 300_000), ("<n>", 100_000), ("it was the best of times, <n> it was  ", 8_000), ("日本語 xaaaaab\n", 15_000)]


def sha256(ids):
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def train(rules=None, **settings):
    writer = io.BytesIO()
    if rules:
        file = Path(tempfile.mkdtemp()) / "rules.tsv"
        hexadecimal = lambda text: " ".join(f"{ord(c):X}" for c in text)
        file.write_text("".join(f"{hexadecimal(old)}\t{hexadecimal(new)}\n" for old, new in rules.items()))
        settings["normalization_rule_tsv"] = str(file)
    settings = dict(model_type="bpe", vocab_size=400, num_threads=1, minloglevel=2) | settings
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(LINES), model_writer=writer, **settings)
    model = model_pb2.ModelProto.FromString(writer.getvalue())
    # A trace of the machine that trained it.
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    return model


# Pieces that joining never makes, or not from their own text alone.
ADDED = ["mask>", "qzx", "ba", "▁=a"]


def add_pieces(model):
    """Adds pieces with the lowest scores; those that nothing is joined to are out of reach."""
    known = {p.piece for p in model.pieces}
    score = min(p.score for p in model.pieces)
    for i, piece in enumerate(ADDED):
        if piece not in known:
            model.pieces.add(piece=piece, score=score - 1 - i, type=NORMAL)
    return model


def unescaped():
    """Spaces stay spaces. The trainer cannot do this; the library can."""
    model = train(byte_fallback=True, vocab_size=600, add_dummy_prefix=True)
    model.normalizer_spec.escape_whitespaces = False
    model.normalizer_spec.precompiled_charsmap = b""
    for piece in model.pieces:
        piece.piece = piece.piece.replace("▁", " ")
    return model


def models():
    identity = dict(normalization_rule_name="identity")
    gala = identity | dict(
        byte_fallback=True, user_defined_symbols=["<n>"], control_symbols=["<mask>"], split_by_whitespace=False, split_digits=True,
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    )
    yield "gala", train(**gala, vocab_size=700)
    yield "words", train(**identity, character_coverage=0.98)
    yield "default", train()
    yield "rules", train(RULES, remove_extra_whitespaces=False, byte_fallback=True, vocab_size=600)
    del RULES["\u200b"]
    yield "spaces", train(RULES)
    yield "bare", train(**identity, add_dummy_prefix=False, byte_fallback=True, allow_whitespace_only_pieces=True, remove_extra_whitespaces=False, vocab_size=600)
    yield "unescaped", unescaped()
    symbols = ["<a>", "<a><b>", "<b>", "abc", "bcd", "b", "bb", "▁the", "▁▁▁", "日本", "日", "\n", ".*", "=(", "aaa"]
    yield "symbols", add_pieces(train(**identity, user_defined_symbols=symbols, control_symbols=["<mask>", "▁of▁"], split_by_whitespace=False, remove_extra_whitespaces=False))
    yield "trimmed", add_pieces(train(**identity, user_defined_symbols=["<n>", "▁a"], control_symbols=["<mask>"], byte_fallback=True, vocab_size=600))


def is_plain(text):
    """Whether no character could be part of a longer unit for a character map."""
    return not any(
        unicodedata.category(c).startswith("M") or c in "\u200c\u200d" or "\u1100" <= c < "\u1200" or "\u3130" <= c < "\u3190"
        or "\uff61" <= c < "\uffe0" for c in text
    )


def write(name, model):
    data = model.SerializeToString()
    if len(data) > 50_000:  # The map of nmt_nfkc.
        (HERE / f"{name}.model.zst").write_bytes(zstandard.compress(data, 19))
    else:
        (HERE / f"{name}.model").write_bytes(data)


def main():
    for name, model in models():
        write(name, model)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
        cases, extra = texts(1, 290), names(model, 2)
        if "<n>" in [p.piece for p in model.pieces]:
            cases = [text.replace("\n", "<n>") for text in cases]
        cases = list(dict.fromkeys(cases + extra))
        mapped = bool(model.normalizer_spec.precompiled_charsmap)
        result = dict(
            vocab_size=processor.get_piece_size(),
            **{f"{n}_id": getattr(processor, f"{n}_id")() for n in ("pad", "eos", "bos", "unk")},
            cases=[[text, processor.encode(text)] for text in cases if not mapped or is_plain(text)],
            long=[dict(unit=u, times=n, sha256_of_comma_joined=sha256(processor.encode("b" + u * n + "b"))) for u, n in LONG],
            # Texts on which `tokenizers` and SentencePiece may differ.
            marks=[[text, processor.encode(text)] for text in cases if mapped and not is_plain(text)],
        )
        (HERE / f"{name}.json").write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")).replace("],[\"", "],\n[\""), encoding="utf-8")
    for kind in ("unigram", "word", "char"):
        write(kind, train(model_type=kind, normalization_rule_name="identity", hard_vocab_limit=False, vocab_size=150))
    write("strings", train(STRINGS, vocab_size=330))


if __name__ == "__main__":
    main()

"""Trains tokenizer.model, a SentencePiece model that fits the golden checkpoints: 64 pieces, with gala's special ids.

    pip install sentencepiece==0.2.3
    python make_tokenizer.py ../../data/texts.jsonl
"""

import io
import json
import sys

import sentencepiece

texts = [json.loads(line)["text"].replace("\n", "<n>") for line in open(sys.argv[1], encoding="utf-8")]
letters = [text for text in texts if text.isascii()]
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(letters),
    model_writer=model,
    model_type="bpe",
    vocab_size=64,
    character_coverage=0.98,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    pad_piece="<pad>",
    control_symbols=["<mask>"],
    user_defined_symbols=["<n>"],
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    split_by_whitespace=False,
    split_digits=True,
)
with open("tokenizer.model", "wb") as file:
    file.write(model.getvalue())

"""A user's folder with tiny models and data, in which mistakes are made."""

import json
from pathlib import Path
from typing import Any

TEXTS = ("This is one of the best films of the year.", "A film that is dull, slow and tired.")
POSITIONS = 64

RECIPE = """\
name: mine
stages:
  sft:
    kind: sft
    from: model
    data: [{source: chat.jsonl}]
    steps: 2
    batch_size: 4
    max_length: 64
    lr: 1.0e-3
  dpo:
    kind: preference
    from: sft
    data: [{source: pairs.jsonl}]
    steps: 2
    batch_size: 4
    max_length: 64
    beta: 0.1
  report:
    kind: evaluate
    reference: sft
    policies: [sft, dpo]
    prompts: {texts: [This film]}
    scorers: [length]
"""
STUDY = """\
name: settings
recipe: recipe.yaml
seeds: [1, 2]
variants:
  plain: {}
  strong: {dpo.beta: 0.5}
"""


def lines(*rows: dict[str, Any]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def pair(number: int) -> dict[str, str]:
    """A preference about a film."""
    return {"prompt": f"Film {number}?", "chosen": "A joy to watch.", "rejected": "Dull."}


def chat(number: int) -> dict[str, str]:
    """A question and its answer."""
    return {"prompt": f"Film {number}?", "completion": "A joy to watch."}


def build(home: Path) -> None:
    """Write models (`model`, `other` with another tokenizer, `judge`), data, a recipe, a study."""
    from accord.checkpoint.folder import save_model
    from accord.checkpoint.scorer_folder import save_scorer
    from accord.model.decoder import Decoder
    from accord.model.scorer import Scorer
    from accord.text.tokenizer import Tokenizer

    home.mkdir(parents=True, exist_ok=True)
    own = Tokenizer.train([*TEXTS] * 3, vocab_size=300, chat_template="chatml")
    foreign = Tokenizer.train(["zebra quiz vex jumbo"] * 9, vocab_size=300, chat_template="chatml")
    for name, tokenizer, seed in (("model", own, 1), ("other", foreign, 2)):
        save_model(Decoder.init(_shape(len(tokenizer)), seed), home / name, tokenizer)
    for name, tokenizer in (("judge", own), ("foreign-judge", foreign)):
        scorer = Scorer(_shape(len(tokenizer)), "last")
        _start(scorer)
        save_scorer(scorer, home / name, tokenizer)
    (home / "chat.jsonl").write_text(lines(*map(chat, range(20))))
    (home / "pairs.jsonl").write_text(lines(*map(pair, range(20))))
    (home / "recipe.yaml").write_text(RECIPE)
    (home / "study.yaml").write_text(STUDY)


def _shape(tokens: int) -> Any:
    from accord.config.model import ModelConfig

    return ModelConfig(
        vocab_size=tokens,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=POSITIONS,
    )


def _start(scorer: Any) -> None:
    import torch

    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draw))

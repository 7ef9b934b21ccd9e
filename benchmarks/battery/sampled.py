"""Log-probabilities at which tokens were drawn, against those that the update gives them."""

from collections.abc import Mapping
from typing import Any

SETTINGS: Mapping[str, dict[str, Any]] = {
    "temperature 1": {},
    "temperature 0.6": {"temperature": 0.6},
    "top_p 0.8": {"temperature": 0.9, "top_p": 0.8},
    "top_k 12, min_p 0.02": {"top_k": 12, "min_p": 0.02},
}
SHAPES: Mapping[str, dict[str, Any]] = {
    "dense": {},
    "windows": {"sliding_windows": (8, None)},
    "mixture": {"num_experts": 4},
}
COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
SHARP = 15.0
"""A new head is multiplied by this: as it is, it draws nearly every token alike."""


def policy(shape: str, dtype: Any) -> tuple[Any, Any]:
    """A model that prefers some tokens to others, and its tokenizer."""
    import torch

    from accord.config.model import ModelConfig
    from accord.model.decoder import Decoder
    from accord.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.train(["words and more words, and others"] * 3, 280)
    config = ModelConfig(vocab_size=288, **COMMON, **SHAPES[shape])
    model = Decoder.init(config, 5)
    with torch.no_grad():
        model.head_weight_VD.mul_(SHARP)
    return model.to(dtype).eval(), tokenizer


def compared(shape: str, setting: str, dtype: Any, prompts: int) -> dict[str, float]:
    """Roll-outs by the engine's cache, scored again by the packed path of the update.

    Returns:
        `tokens` drawn; the largest difference `apart` of a log-probability in nats; the mean of the
        update's `ratio` over them, 1 at no lag; `outside`, drawn tokens that the update holds for
        impossible; `kept`, the mean share of the vocabulary that a token was drawn from.
    """
    import numpy as np

    from accord.config.generate import SamplingConfig
    from accord.data.packing import Example, Response
    from accord.rollout.engine import Engine
    from accord.rollout.score import score_sampled, supports
    from accord.stages.drawing import Drawing, drawn_logps

    model, tokenizer = policy(shape, dtype)
    sampling = SamplingConfig(max_new_tokens=48, **SETTINGS[setting])
    engine = Engine(model, tokenizer)
    drawing = Drawing(sampling, len(tokenizer), engine.forbidden)
    asked = [tokenizer.encode("words and more"[: 1 + i % 14]) for i in range(prompts)]
    done = engine.generate(asked, sampling, list(range(prompts)), batch_size=8)
    pairs = [(prompt, c.ids) for prompt, c in zip(asked, done, strict=True)]
    examples = [
        Example(tuple(prompt), (Response(ids, (True,) * len(ids)),), str(i))
        for i, (prompt, ids) in enumerate(pairs)
    ]
    held: list[Any] = [None] * prompts
    if drawing.truncates:
        held = supports(model, pairs, sampling, drawing.tokens, drawing.forbidden)
    again = np.concatenate(drawn_logps(model, examples, drawing, held)[0]).astype(np.float64)
    drawn = np.array([logp for c in done for logp in c.logps], dtype=np.float64)
    strict = score_sampled(model, pairs, sampling, drawing.tokens, drawing.forbidden)
    outside = sum(int((~logps.isfinite()).sum()) for logps in strict)
    sizes = [len(ids) for row in held if row is not None for ids in row]
    return {
        "tokens": float(len(drawn)),
        "apart": float(np.abs(again - drawn).max()),
        "ratio": float(np.exp(again - drawn).mean()),
        "outside": float(outside),
        "kept": float(np.mean(sizes)) / drawing.tokens if sizes else 1.0,
    }


def everything(dtype: Any, prompts: int) -> dict[str, dict[str, float]]:
    """All shapes of model under all settings."""
    return {
        f"{shape}, {setting}": compared(shape, setting, dtype, prompts)
        for shape in SHAPES
        for setting in SETTINGS
    }

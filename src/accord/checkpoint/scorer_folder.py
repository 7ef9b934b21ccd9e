"""Reward-model and critic folders.

A causal scorer is written as Hugging Face's `…ForSequenceClassification` with one label. A
bidirectional one has a folder of the same shape under a `model_type` that only Accord knows:
loaded elsewhere as its family's class it would silently give other scores.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accord.checkpoint.families import FAMILIES, Family, Rule
from accord.checkpoint.folder import (
    CONFIG,
    dtype_name,
    read_config,
    write_texts,
    written_aside,
)
from accord.checkpoint.generation import special_ids
from accord.checkpoint.names import (
    BIDIRECTIONAL,
    SpecialIds,
    architectures,
    config_to_hf,
    family_of,
    is_scorer,
    refuse_code,
    shape_from_hf,
)
from accord.checkpoint.weights import (
    check,
    fill,
    open_weights,
    read_json,
    shaped,
    weight_files,
    write_json,
    write_weights,
)
from accord.config.model import ModelConfig
from accord.data.scoring import Pooling
from accord.errors import AccordError, did_you_mean
from accord.model.scorer import Scorer

if TYPE_CHECKING:
    from accord.text.tokenizer import Tokenizer

LABEL = "reward"
HEAD = Rule("score.weight", ("score.weight",))


def save_scorer(
    scorer: Scorer,
    folder: str | Path,
    tokenizer: "Tokenizer | None" = None,
    dtype: torch.dtype | None = None,
    card: str | None = None,
    weights: Mapping[str, Tensor] | None = None,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a scorer as a model folder; the same scorer gives the same bytes.

    Where pad and end token are one, config.json names no pad token: transformers finds the last
    real token by the pad token's id, and would read one before the end; without one it refuses
    batches of several texts, and scores single ones rightly.

    Args:
        scorer: The scorer.
        folder: Where to; other files in it are left alone.
        tokenizer: Its files are written too, and its end, pad and bos tokens stand in config.json.
        dtype: Of the stored weights; none: as they are.
        card: Text of README.md.
        weights: By the scorer's names, in its stead (gathered from ranks, float32 masters).
        shard_bytes: Weights above this size are split into several files with an index.

    Raises:
        AccordError: No Hugging Face family expresses the trunk.
    """
    own = scorer.state_dict() if weights is None else weights
    own = {name.removeprefix("trunk."): weight for name, weight in own.items()}
    stored = dtype or own["embedding.weight"].dtype
    hf = scorer_to_hf(scorer, special_ids(tokenizer), dtype_name(stored))
    with written_aside(Path(folder)) as aside:
        rules = [*family_of(scorer.config).rules(scorer.config), HEAD]
        write_weights(aside, rules, own, stored, shard_bytes)
        write_texts(aside, tokenizer, scorer.config.max_position_embeddings, card)
        write_json(aside / CONFIG, hf)


def load_scorer(
    folder: str | Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Scorer:
    """The scorer of a folder that `save_scorer` or transformers has written.

    Args:
        folder: The folder.
        dtype: Of the model; none: that of the stored embedding.
        device: Where its weights go.

    Raises:
        AccordError: No such model, a language model, more than one label, no safetensors, tensors
            missing, left over or of another shape.
    """
    folder = Path(folder)
    config, family, pooling = scorer_from_hf(read_config(folder), str(folder / CONFIG))
    with ExitStack() as stack:
        stored = open_weights(weight_files(folder), family, stack)
        empty = partial(Scorer.empty, config, pooling, device="meta")
        scorer = shaped(empty, config, len(stored), str(folder))
        rules = [*family.rules(scorer.config), HEAD]
        shapes = {name: weight.shape for name, weight in _own(scorer).items()}
        check(stored, rules, shapes, family, scorer.config, str(folder))
        dtype = dtype or stored[rules[0].theirs].get().dtype
        scorer = scorer.to(dtype).to_empty(device=device)
        fill(_own(scorer), rules, stored)
    return scorer


def holds_scorer(folder: str | Path) -> bool:
    """Whether a model folder is a reward model's or critic's rather than a language model's."""
    path = Path(folder) / CONFIG
    return path.is_file() and is_scorer(read_json(path))


def scorer_to_hf(scorer: Scorer, special: SpecialIds, dtype: str) -> dict[str, Any]:
    """The content of a scorer's config.json.

    Raises:
        AccordError: No family expresses the trunk.
    """
    family = family_of(scorer.config)
    if special.pad == special.eos:
        special = SpecialIds(special.bos, special.eos, None)
    hf = config_to_hf(scorer.config, special, dtype)
    hf |= {
        "architectures": [family.scorer],
        # a score is no probability: transformers' pipeline applies a sigmoid without this
        "problem_type": "regression",
        "id2label": {"0": LABEL},
        "label2id": {LABEL: 0},
        "use_cache": False,
    }
    if scorer.pooling == "mean":
        hf |= {"architectures": ["AccordBidirectionalScorer"], "model_type": BIDIRECTIONAL}
        hf["trunk_model_type"] = family.model_type
    return hf


def scorer_from_hf(
    hf: Mapping[str, Any], where: str = CONFIG
) -> tuple[ModelConfig, Family, Pooling]:
    """Shape, family and pooling of a scorer's config.json.

    Raises:
        AccordError: It is no scorer's, or has more than one label.
    """
    refuse_code(hf, where)
    if not is_scorer(hf):
        raise AccordError(
            f"The folder holds no reward model but {_kind(hf)}.",
            where,
            "Train one: accord reward --model DIR --data prefs.jsonl --out RM",
        )
    labels = hf.get("id2label")
    labels = labels if isinstance(labels, dict) else {"0": "", "1": ""}
    if len(labels) != 1:
        raise AccordError(
            f"The folder holds a classifier with {len(labels)} labels; a reward model has one.",
            where,
        )
    bidirectional = hf["model_type"] == BIDIRECTIONAL
    name = str(hf.get("trunk_model_type") if bidirectional else hf["model_type"])
    if name not in FAMILIES:
        raise AccordError(
            f"Unknown trunk_model_type '{name}'; {did_you_mean(name, FAMILIES)}", where
        )
    config = shape_from_hf(hf, FAMILIES[name], where)
    return config, FAMILIES[name], "mean" if bidirectional else "last"


def _kind(hf: Mapping[str, Any]) -> str:
    names = architectures(hf) or [f"a model of type {hf.get('model_type')}"]
    known = any(family.architecture in names for family in FAMILIES.values())
    return "a language model" if known else ", ".join(map(str, names))


def _own(scorer: Scorer) -> dict[str, Tensor]:
    """A scorer's weights by the names of `Family.rules` and `HEAD`."""
    return {name.removeprefix("trunk."): weight for name, weight in scorer.named_parameters()}

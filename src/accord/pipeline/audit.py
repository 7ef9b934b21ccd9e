"""An audit of a reward model's folder on held-out data."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from accord.checkpoint.scorer_folder import load_scorer
from accord.config.data import HeldoutConfig, RatedPairs, SourceConfig
from accord.config.references import HUB
from accord.data.account import Account
from accord.data.load import load_rows
from accord.data.packing import Example, Response, fit
from accord.data.pairs import rated_pairs, rating_of
from accord.data.rows import PairRow
from accord.data.scoring import collate_scored
from accord.errors import AccordError
from accord.evaluation.audit.document import Subject
from accord.evaluation.audit.document import audit as measured
from accord.evaluation.audit.item import Item
from accord.evaluation.audit.text import page
from accord.model.scorer import Scorer
from accord.pipeline.execute import local_folder
from accord.pipeline.files import read_json, write_json, write_text
from accord.stages.comparisons import pair_examples
from accord.stages.records import cache_folder
from accord.text.tokenizer import Tokenizer

Paths = str | Path | Sequence[str | Path]

DEFAULT_LENGTH = 1024
"""Tokens that are read of a prompt and its answer where the model's record does not say."""
DEFAULT_PAIRS = 1000
RATED = ("rated", "groups")
"""Kinds of pairs that are made of single texts, which have no prompt."""
SEED = 1


@dataclass
class ModelJudge:
    """A reward model as an audit sees it; answers are rendered and cut as training does.

    Args:
        scorer: The model.
        tokenizer: Its tokenizer, whose chat template is used.
        max_length: Tokens that it reads of a prompt with its answer.
    """

    scorer: Scorer
    tokenizer: Tokenizer
    max_length: int
    _read: dict[Item, Example] = field(default_factory=dict)

    def size(self, item: Item) -> int:
        """Tokens of the answer that are read."""
        short = fit(self._whole(item), self.max_length)
        return 0 if short is None else len(short.responses[0].ids)

    def whole(self, item: Item) -> bool:
        """Whether the answer is read to its end."""
        return self.size(item) == len(self._whole(item).responses[0].ids)

    @torch.no_grad()
    def together(self, items: Sequence[Item]) -> list[float]:
        """The scores of one batch."""
        examples = [fit(self._whole(item), self.max_length) for item in items]
        batch = collate_scored([e for e in examples if e is not None], self.scorer.pooling)
        return self.scorer(batch).tolist()

    def _whole(self, item: Item) -> Example:
        if item not in self._read:
            self._read[item] = self._encoded(item)
        return self._read[item]

    def _encoded(self, item: Item) -> Example:
        """The item's tokens, nothing cut; as a side of a pair, for so it was trained on."""
        cut_off = (item.cut_off, item.cut_off)
        row = PairRow(prompt=item.prompt, chosen=item.answer, rejected=item.answer, cut_off=cut_off)
        found = pair_examples([row], self.tokenizer, sys.maxsize, Account())
        if not found:  # an empty answer that was cut off: not a token of it is scored
            return Example((), (Response((), ()),))
        return replace(found[0][1], responses=found[0][1].responses[:1])


def audit(
    model: str | Path,
    data: Paths,
    out: str | Path | None = None,
    rating: str | None = None,
    gap: float | None = None,
    truth: str | None = None,
    max_length: int | None = None,
    max_pairs: int = DEFAULT_PAIRS,
) -> dict[str, Any]:
    """What a reward model is worth on held-out pairs, and what it may be used to conclude.

    Of a source that the model was trained on, only the rows that training held out are used.
    Scores are computed in float32. With `out`, `audit.json` and `audit.md` are written there.

    Args:
        model: Folder of a reward model, or `hub:owner/name`.
        data: Sources of pairs or, with `rating`, of rated texts.
        out: Where to; none: nothing is written.
        rating: Column of the texts' rating.
        gap: Smallest difference of ratings in a pair; none: as the model was trained, else 1.5.
        truth: Column that says what is truly better.
        max_length: Tokens of a prompt with its answer; none: as the model was trained.
        max_pairs: At most so many pairs, drawn by the hash of their content.

    Raises:
        AccordError: No reward model, no rows, a missing column, or no row that was held out.
    """
    sources = [str(name) for name in ([data] if isinstance(data, str | Path) else data)]
    folder = local_folder(str(model))
    scorer = load_scorer(folder, torch.float32).eval().requires_grad_(False)
    tokenizer = Tokenizer.load(folder)
    record = read_json(folder / "accord" / "stage.json")
    trained = record.get("config", {}) if record.get("kind") == "reward" else {}
    positions = scorer.config.max_position_embeddings
    length = min(max_length or trained.get("max_length", DEFAULT_LENGTH), positions)
    subject = _subject(sources, trained, record.get("seed", SEED), rating, gap)
    subject = replace(
        subject,
        pairs=_drawn(subject.pairs, max_pairs),
        truth=truth,
        pad_is_end=tokenizer.pad_token == tokenizer.end_token,
    )
    said = {"folder": str(model), "pooling": scorer.pooling, "max_length": length}
    document = {"model": said, "data": sources}
    document |= measured(ModelJudge(scorer, tokenizer, length), subject)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        write_json(Path(out) / "audit.json", document)
        write_text(Path(out) / "audit.md", page(document))
    return document


def _subject(
    data: Sequence[str],
    trained: dict[str, Any],
    seed: int,
    rating: str | None,
    gap: float | None,
) -> Subject:
    """The pairs of the data, and the texts they were made of."""
    made = trained.get("pairs")
    # rated texts are compared without any prompt; sampled and judged answers have one
    without_prompts = True if made and made["kind"] in RATED else None
    if rating is None:
        return Subject(_rows(data, trained, "pair", seed), without_prompts=without_prompts)
    texts = _rows(data, trained, "text", seed)
    given = (made.get("heldout") or made) if made else {}
    known = {key: given[key] for key in RatedPairs.model_fields if key in given}
    known |= {"kind": "rated", "rating": rating} | ({} if gap is None else {"gap": gap})
    pairs = rated_pairs(texts, RatedPairs.model_validate(known), seed)
    rated = [(row, rating_of(row, rating)) for row in texts]
    return Subject(pairs, rated, without_prompts)


def _rows(data: Sequence[str], trained: dict[str, Any], kind: Any, seed: int) -> list[Any]:
    """Rows of all sources; of one that was trained on, those that were held out."""
    found: list[Any] = []
    for name in data:
        own = [s for s in trained.get("data", []) if _same(s["source"], name)]
        source = SourceConfig.model_validate(
            {**own[0], "source": name} if own else {"source": name}
        )
        heldout = HeldoutConfig(fraction=0)
        if own:
            heldout = HeldoutConfig.model_validate(trained["heldout"])
        loaded = load_rows([source], heldout, kind, seed, Account(), cache_folder())
        rows = loaded.heldout if own else loaded.train
        if not rows:
            raise AccordError(
                "The model was trained on every row of the source.",
                name,
                "give pairs that it has not seen",
            )
        found += rows
    return found


def _same(trained: str, given: str) -> bool:
    """Whether two names are one source; paths are compared as they stand from here."""
    if trained == given or given.startswith(HUB):
        return trained == given
    return Path(trained).expanduser().resolve() == Path(given).expanduser().resolve()


def _drawn(pairs: Sequence[PairRow], most: int) -> list[PairRow]:
    """At most so many of them in their order; which, their content decides."""
    chosen = {row.id for row in sorted(pairs, key=lambda row: row.id)[:most]}
    return [row for row in pairs if row.id in chosen]

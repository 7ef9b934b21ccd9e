"""Training a reward model on pairs, or on texts that people have rated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from torch import Tensor

from accord.checkpoint.folder import model_fingerprint
from accord.checkpoint.scorer_folder import save_scorer
from accord.config.reward import RatedGroups, RewardStage
from accord.data.account import Account
from accord.data.examples import check_some
from accord.data.order import Order
from accord.data.packing import Example
from accord.data.scoring import (
    Pooling,
    Rated,
    Scale,
    ScoreBatch,
    collate_groups,
    collate_scored,
)
from accord.evaluation.baseline import check_installed
from accord.evaluation.running import length_edges, running_figures
from accord.model.scorer import POOLINGS, Scorer
from accord.stages.comparisons import (
    Comparisons,
    comparisons,
    pair_examples,
    ratings_of,
    text_examples,
)
from accord.stages.context import StageContext
from accord.stages.models import check_length, fresh_model, open_model
from accord.stages.records import write_record
from accord.stages.reward_heldout import heldout_figures
from accord.stages.reward_steps import reward_step
from accord.stages.sources import steps_of
from accord.stages.training import fit
from accord.text.tokenizer import Tokenizer
from accord.train import current_ranks


@dataclass(frozen=True)
class PairSource:
    """Pairs in shuffled order; a row is a pair."""

    examples: Sequence[Example]
    order: Order
    steps: int
    pooling: Pooling

    def rows(self, step: int) -> list[Example]:
        """The pairs of optimiser step `step`, over all ranks."""
        return [self.examples[i] for i in self.order.indices(step)]

    def collate(self, rows: Sequence[Example]) -> ScoreBatch:
        """Pairs as a batch."""
        return collate_scored(rows, self.pooling)

    def tokens(self, rows: Sequence[Example]) -> list[int]:
        """Tokens of each pair."""
        return [example.tokens for example in rows]


@dataclass(frozen=True)
class GroupSource:
    """Rated texts in groups drawn anew each epoch; a row is a group.

    The order is that of texts: `size` of them in a row make a group.
    """

    texts: Sequence[Rated]
    order: Order
    steps: int
    pooling: Pooling
    groups: RatedGroups
    scale: Scale

    def rows(self, step: int) -> list[list[Rated]]:
        """The groups of optimiser step `step`, over all ranks."""
        drawn = [self.texts[i] for i in self.order.indices(step)]
        size = self.groups.size
        return [drawn[at : at + size] for at in range(0, len(drawn), size)]

    def collate(self, rows: Sequence[Sequence[Rated]]) -> ScoreBatch:
        """Groups as a batch."""
        return collate_groups(rows, self.pooling, self.groups.gap, self.scale)

    def tokens(self, rows: Sequence[Sequence[Rated]]) -> list[int]:
        """Tokens of each group."""
        return [sum(text.example.tokens for text in row) for row in rows]


@dataclass(frozen=True)
class HeldoutPairs:
    """Held-out pairs in their own order, each once.

    A row is as many pairs as have the texts of a training row, so that the micro-batches of
    training fit an evaluation too.
    """

    examples: Sequence[Example]
    batch_size: int
    pairs_a_row: int
    pooling: Pooling

    @property
    def steps(self) -> int:
        """Batches it takes to see every pair."""
        return -(-len(self.examples) // (self.batch_size * self.pairs_a_row))

    def rows(self, step: int) -> list[Sequence[Example]]:
        """The pairs of batch `step`, some a row."""
        size, start = self.pairs_a_row, step * self.batch_size * self.pairs_a_row
        stop = min(start + self.batch_size * size, len(self.examples))
        return [self.examples[at : min(at + size, stop)] for at in range(start, stop, size)]

    def collate(self, rows: Sequence[Sequence[Example]]) -> ScoreBatch:
        """Rows of pairs as a batch."""
        return collate_scored([pair for row in rows for pair in row], self.pooling)

    def tokens(self, rows: Sequence[Sequence[Example]]) -> list[int]:
        """Tokens of each row's pairs."""
        return [sum(example.tokens for example in row) for row in rows]

    def figures(self, totals: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """Calibration error, spread and length correlation over all pairs."""
        return running_figures(totals)


def run(config: RewardStage, context: StageContext) -> None:
    """Train a scorer, leave its folder and what it is worth on held-out rows."""
    place = f"stages.{context.name}"
    if config.baseline:
        check_installed(f"{place}.baseline")
    account = Account()
    start = cache(partial(_start, config, context))
    # a fault in the data is told before a model is opened
    rows = comparisons(config, context, lambda: start()[1], account)
    scorer, tokenizer, mark = start()
    check_length(scorer.config, config.max_length, place)
    held = pair_examples(rows.heldout_pairs, tokenizer, config.max_length, Account())
    source = _source(config, context, rows, tokenizer, account)
    edges = length_edges([example.length - len(example.prompt) for _, example in held])
    watched = [example for _, example in held][: config.eval_rows]
    pairs_a_row = config.pairs.size // 2 if isinstance(config.pairs, RatedGroups) else 1
    trainer = fit(
        scorer,
        reward_step(config, edges),
        source,
        HeldoutPairs(watched, config.batch_size, pairs_a_row, scorer.pooling) if watched else None,
        config,
        context,
        f"{mark} {tokenizer.fingerprint}",
        "groups" if isinstance(source, GroupSource) else "pairs",
    )
    texts = text_examples(rows.heldout_texts, tokenizer, config.max_length, Account())

    def save(weights: dict[str, Tensor]) -> None:
        trained = Scorer.empty(scorer.config, scorer.pooling)
        trained.load_state_dict(weights)
        trained.eval().requires_grad_(False).to(current_ranks().device)
        figures = heldout_figures(trained, held, texts, rows, config.baseline, context.seed)
        if isinstance(source, GroupSource) and figures:
            figures["rating_scale"] = {"mean": source.scale.mean, "std": source.scale.std}
        write_record(context.folder, "heldout.json", figures)
        write_record(context.folder, "rows.json", account.to_json())
        save_scorer(trained.cpu(), context.folder, tokenizer)

    trainer.write(save)


def _start(config: RewardStage, context: StageContext) -> tuple[Scorer, Tokenizer, str]:
    """The scorer to train, its tokenizer and what marks the model it starts from."""
    if config.from_ is not None:
        folder = context.input(config.from_)
        decoder, tokenizer = open_model(folder)
        mark = model_fingerprint(folder)
    else:
        assert config.tokenizer is not None
        tokenizer = Tokenizer.load(context.input(config.tokenizer))
        decoder, mark = fresh_model(config.model, tokenizer, context.seed), "new"
    if config.chat_template is not None:
        tokenizer = tokenizer.with_chat_template(config.chat_template)
    scorer = Scorer.from_decoder(decoder, POOLINGS[config.architecture], context.seed)
    return scorer, tokenizer, mark


def _source(
    config: RewardStage,
    context: StageContext,
    rows: Comparisons,
    tokenizer: Tokenizer,
    account: Account,
) -> PairSource | GroupSource:
    place, pooling = f"stages.{context.name}", POOLINGS[config.architecture]
    if isinstance(config.pairs, RatedGroups):
        kept = text_examples(rows.texts, tokenizer, config.max_length, account)
        check_some(rows.texts, [example for _, example in kept], config.max_length, place)
        ratings = ratings_of([row for row, _ in kept], rows.rating)
        texts = [Rated(e, rating) for (_, e), rating in zip(kept, ratings, strict=True)]
        order = Order(len(texts), config.batch_size * config.pairs.size, context.seed)
        scale = Scale.of(ratings)
        return GroupSource(texts, order, steps_of(config, order), pooling, config.pairs, scale)
    kept = pair_examples(rows.pairs, tokenizer, config.max_length, account)
    examples = [example for _, example in kept]
    check_some(rows.pairs, examples, config.max_length, place)
    order = Order(len(examples), config.batch_size, context.seed)
    return PairSource(examples, order, steps_of(config, order), pooling)

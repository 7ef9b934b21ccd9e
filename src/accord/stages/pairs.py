"""Where pairs come from: the data, its ratings, or models that answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from accord.checkpoint.folder import load_model
from accord.config.data import JudgedPairs, RatedPairs, SampledPairs
from accord.config.generate import SamplingConfig
from accord.config.preference import PreferenceStage
from accord.config.reward import RewardStage
from accord.data.account import Account
from accord.data.examples import at_row, no_room, opening_ids
from accord.data.load import Kind, Loaded
from accord.data.pairs import rated_pairs
from accord.data.rows import ChatRow, PairRow, digest
from accord.errors import AccordError
from accord.rollout.engine import Engine
from accord.stages.context import StageContext
from accord.stages.judged import CUT_OFF, IDENTICAL, Judging
from accord.stages.models import check_same_tokens
from accord.stages.records import stage_rows
from accord.text.chat import stop_ids
from accord.text.messages import Message, Messages
from accord.text.tokenizer import Tokenizer
from accord.train import current_ranks

EMPTY = "a sampled response is empty"

_Side = tuple[Messages, bool]
"""A response, and whether it was cut off."""


def load_pairs(
    config: PreferenceStage | RewardStage,
    context: StageContext,
    tokenizer: Callable[[], Tokenizer],
    account: Account,
) -> Loaded:
    """Pairs to train on and pairs held out; held-out pairs are made of held-out rows alone.

    The tokenizer, and with it a model, is opened where pairs are sampled, after the rows are read.
    """
    made, seed = config.pairs, context.seed
    rows = stage_rows(config, _kind(made), context, account)
    if isinstance(made, RatedPairs):
        held = rated_pairs(rows.heldout, made, seed) if rows.heldout else []
        return Loaded(rated_pairs(rows.train, made, seed, account), held)
    if isinstance(made, SampledPairs):
        sides = {name: context.input(name) for name in config.inputs()}
        answer = _Answers(made, sides, tokenizer(), config.max_length, seed)
        train, held = answer.pairs(rows.train, account), answer.pairs(rows.heldout, Account())
    elif isinstance(made, JudgedPairs):
        judge = Judging(made, context, tokenizer(), config.max_length)
        held = judge.pairs(rows.heldout, judge.share(rows.train, rows.heldout), Account())
        train = judge.pairs(rows.train, made.prompts, account)
    else:
        return rows
    if not train:
        raise AccordError(
            f"No {made.kind} pair is left to train on.",
            f"stages.{context.name}.pairs",
            f"sample at a higher temperature or longer; read and dropped: {account.to_json()}",
        )
    return Loaded(train, held)


def _kind(made: object) -> Kind:
    """What rows pairs are made of."""
    match made:
        case RatedPairs():
            return "text"
        case SampledPairs():
            return "prompt" if made.chosen else "chat"
        case JudgedPairs():
            # the first words of a conversation's answer are a prompt too
            return "chat" if made.first_words else "prompt"
        case _:
            return "pair"


class _Answers:
    """Pairs whose responses are sampled from named models."""

    def __init__(
        self,
        config: SampledPairs,
        folders: Mapping[str, Path],
        tokenizer: Tokenizer,
        max_length: int,
        seed: int,
    ) -> None:
        self.config, self.folders, self.tokenizer = config, folders, tokenizer
        self.max_length, self.seed = max_length, seed

    def pairs(self, rows: Sequence[ChatRow], account: Account) -> list[PairRow]:
        """One pair a row; those with identical or empty sides are counted and left out.

        So are rows whose prompt leaves no room for an answer.
        """
        rows = self._with_room(rows, account)
        if not rows:
            return []
        config = self.config
        rejected = self._written(config.rejected, rows, config.rejected_sampling, "rejected")
        chosen: list[_Side] = [(row.completion, False) for row in rows]
        if config.chosen:
            chosen = self._written(config.chosen, rows, config.chosen_sampling, "chosen")
        found: list[PairRow] = []
        for row, (better, above), (worse, below) in zip(rows, chosen, rejected, strict=True):
            if not better[-1].content.strip() or not worse[-1].content.strip():
                account.withdraw(row.source, EMPTY, language=row.language)
            elif better == worse:
                account.withdraw(row.source, IDENTICAL, language=row.language)
            else:
                pair = PairRow(row.prompt, better, worse, cut_off=(above, below))
                place = {"where": row.where, "source": row.source, "group": row.group}
                found.append(replace(pair, **place, language=row.language))
                if above or below:
                    account.noted(row.source, CUT_OFF, above + below)
        return found

    def _with_room(self, rows: Sequence[ChatRow], account: Account) -> list[ChatRow]:
        kept = []
        for row in rows:
            if len(self._prompt(row)) < self.max_length:
                kept.append(row)
            else:
                account.withdraw(row.source, no_room(self.max_length), language=row.language)
        return kept

    def _prompt(self, row: ChatRow) -> list[int]:
        with at_row(row):
            return opening_ids(row.prompt, _answerer(row.prompt), self.tokenizer, None)

    def _written(
        self, name: str, rows: Sequence[ChatRow], sampling: SamplingConfig, side: str
    ) -> list[_Side]:
        check_same_tokens(self.tokenizer, self.folders[name])
        model = load_model(self.folders[name], device=current_ranks().device)
        engine = Engine(model, self.tokenizer, sorted(stop_ids(self.tokenizer)))
        prompts = [self._prompt(row) for row in rows]
        # a row's own seed: the same answer whatever other rows there are
        seeds = [int(digest([self.seed, side, row.id]), 16) >> 2 for row in rows]
        completions = engine.generate(prompts, sampling, seeds)
        return [
            ((Message(_answerer(row.prompt), completion.text),), completion.finished == "length")
            for row, completion in zip(rows, completions, strict=True)
        ]


def _answerer(prompt: Messages) -> str:
    """The role that goes on after a prompt."""
    return "assistant" if prompt and prompt[-1].role != "text" else "text"

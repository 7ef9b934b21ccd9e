"""Pairs of a model's own completions, told apart by a reward that is known."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from accord.checkpoint.folder import load_model
from accord.config.data import JudgedPairs
from accord.data.account import Account
from accord.data.rows import ChatRow, Drawn, PairRow, digest
from accord.evaluation.likelihood import Policy
from accord.evaluation.protocol import row_prompts
from accord.evaluation.samples import Prompt, answered
from accord.rewards.model import ModelReward
from accord.rewards.total import rewards_of
from accord.rollout.engine import Engine
from accord.rollout.requests import Completion
from accord.stages.context import StageContext
from accord.stages.models import check_same_tokens
from accord.text.chat import stop_ids
from accord.text.messages import Message, Messages
from accord.text.tokenizer import Tokenizer
from accord.train import current_ranks

IDENTICAL = "chosen and rejected are the same"
CUT_OFF = "sampled responses cut off at max_new_tokens: no end to be learnt"
TIED = "all completions of the prompt are worth the same"
NO_PROMPT = "no prompt of its own (too short, or the same as another's)"
NOT_DRAWN = "prompt not among the pairs.prompts drawn"
MADE = "pairs made"

SLOTS = 128
"""Completions decoded at a time."""

Place = tuple[int, int]
"""The chosen and the rejected one among a prompt's completions."""


def best_and_worst(scores: Sequence[float]) -> Place | None:
    """The first best and the first worst of a prompt's completions; none where all are equal."""
    best, worst = int(np.argmax(scores)), int(np.argmin(scores))
    return (best, worst) if scores[best] > scores[worst] else None


def bradley_terry(scores: Sequence[float], seed: int) -> list[Place]:
    """Every two of a prompt's completions; i is chosen over j with probability σ(s_i - s_j)."""
    places = list(combinations(range(len(scores)), 2))
    draws = np.random.default_rng(seed).random(len(places))
    return [
        (i, j) if draw < _sigmoid(scores[i] - scores[j]) else (j, i)
        for (i, j), draw in zip(places, draws, strict=True)
    ]


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


class Judging:
    """Samples completions of prompts and pairs them by their reward.

    Args:
        config: Who writes, who judges, and what is paired.
        context: The stage, with the folders of its inputs.
        tokenizer: The trained model's, whose ids the writer must share.
        max_length: Of prompt and completion together.
    """

    def __init__(
        self, config: JudgedPairs, context: StageContext, tokenizer: Tokenizer, max_length: int
    ) -> None:
        folder, device = context.input(config.from_), current_ranks().device
        check_same_tokens(tokenizer, folder)

        def load_reward(name: str) -> ModelReward:
            return ModelReward(context.input(name), tokenizer, device, torch.float32)

        self.config, self.seed = config, context.seed
        self.room = max_length - config.sampling.max_new_tokens
        self.writer = Policy(config.from_, load_model(folder, device=device), tokenizer)
        self.rewards = rewards_of(config.reward, load_reward)

    def share(self, train: Sequence[ChatRow], heldout: Sequence[ChatRow]) -> int | None:
        """As large a share of the held-out prompts as `prompts` is of those to train on."""
        wanted = self.config.prompts
        return wanted and math.ceil(wanted * len(heldout) / max(len(train), 1))

    def pairs(self, rows: Sequence[ChatRow], count: int | None, account: Account) -> list[PairRow]:
        """Pairs of at most `count` of the rows' prompts; rows that give none are withdrawn.

        A prompt's completions and labels depend on prompt and seed alone.
        """
        asked, k = self._asked(rows, count, account), self.config.samples
        each = [prompt for _, prompt in asked for _ in range(k)]
        completions = self._completions(each)
        answers = [
            answered(p, c.text, c.ids, c.finished) for p, c in zip(each, completions, strict=True)
        ]
        scores = self.rewards(answers).total
        found: list[PairRow] = []
        for i, (row, prompt) in enumerate(asked):
            group = slice(i * k, (i + 1) * k)
            made = self._paired(row, prompt, completions[group], scores[group], account)
            found += made
            if made:
                account.noted(row.source, MADE, len(made))
        return found

    def _asked(
        self, rows: Sequence[ChatRow], count: int | None, account: Account
    ) -> list[tuple[ChatRow, Prompt]]:
        """Rows with their prompts, in an order that the seed draws."""
        found = row_prompts(rows, self.config.first_words, self.writer)
        fitting = [(row, prompt) for row, prompt in found if len(prompt.ids) <= self.room]
        fitting.sort(key=lambda both: digest([self.seed, both[1].id]))
        asked = fitting[:count]
        steps = [rows, *([row for row, _ in left] for left in (found, fitting, asked))]
        reasons = (NO_PROMPT, f"prompt longer than {self.room} tokens", NOT_DRAWN)
        for before, after, why in zip(steps, steps[1:], reasons, strict=False):
            kept = {id(row) for row in after}
            for row in before:
                if id(row) not in kept:
                    account.withdraw(row.source, why, language=row.language)
        return asked

    def _completions(self, prompts: Sequence[Prompt]) -> list[Completion]:
        tokenizer = self.writer.tokenizer
        engine = Engine(self.writer.model, tokenizer, sorted(stop_ids(tokenizer)))
        k = self.config.samples
        seeds = [self._seed("sample", prompt, i % k) for i, prompt in enumerate(prompts)]
        return engine.generate([p.ids for p in prompts], self.config.sampling, seeds, SLOTS)

    def _seed(self, what: str, prompt: Prompt, number: int) -> int:
        return int(digest([self.seed, what, prompt.id, number])[:12], 16)

    def _paired(
        self,
        row: ChatRow,
        prompt: Prompt,
        completions: Sequence[Completion],
        scores: Sequence[float],
        account: Account,
    ) -> list[PairRow]:
        if self.config.label == "best_worst":
            ends = best_and_worst(scores)
            places, why = [ends] if ends else [], TIED
        else:
            drawn = bradley_terry(scores, self._seed("label", prompt, 0))
            # the same tokens twice teach nothing, whichever is called the better
            places = [(i, j) for i, j in drawn if completions[i].ids != completions[j].ids]
            why = IDENTICAL
        if not places:
            account.withdraw(row.source, why, language=row.language)
        made = [_pair(row, prompt, completions, scores, place) for place in places]
        cut = sum(sum(pair.cut_off) for pair in made)
        if cut:
            account.noted(row.source, CUT_OFF, cut)
        return made


def _pair(
    row: ChatRow,
    prompt: Prompt,
    completions: Sequence[Completion],
    scores: Sequence[float],
    place: Place,
) -> PairRow:
    better, worse = (completions[i] for i in place)
    asked, role = _asked_by(prompt)
    return PairRow(
        asked,
        (Message(role, better.text),),
        (Message(role, worse.text),),
        cut_off=(better.finished == "length", worse.finished == "length"),
        drawn=Drawn(tuple(prompt.ids), better.ids, worse.ids),
        where=row.where,
        source=row.source,
        group=row.group,
        language=row.language,
        extra={"chosen_reward": scores[place[0]], "rejected_reward": scores[place[1]]},
    )


def _asked_by(prompt: Prompt) -> tuple[Messages, str]:
    """What is asked, and the role that answers; the opening of a text is part of what is asked."""
    before = prompt.messages or ()
    role = "assistant" if before and before[-1].role != "text" else "text"
    return ((*before, Message(role, prompt.text)) if prompt.continues else before), role

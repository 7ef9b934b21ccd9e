"""Roll-outs: prompts answered by the policy as it is now, scored, and gathered over the ranks."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accord.data.order import Order
from accord.data.packing import Example, Response
from accord.data.rows import digest
from accord.evaluation.samples import Prompt, answered
from accord.model.decoder import Decoder
from accord.rewards.total import Rewards
from accord.rollout.requests import Completion
from accord.rollout.score import supports as drawn_supports
from accord.stages.drawing import Drawing, Floats, Supports, drawn_logps
from accord.train.parallel import Ranks

LOGGED = 4
"""Every so many groups are scored by a reference that only the log wants."""

Measure = Callable[[Any, Sequence[Example]], list[list[Floats]]]


@dataclass(frozen=True)
class Group:
    """A prompt's k completions and what was measured of them.

    Args:
        example: Prompt and completions; every drawn token is scored.
        finished: How each ended: `end`, `stop` or `length`.
        texts: Each completion's text.
        old_logps: Of every drawn token under the policy that drew it, by the training path; none
            where no update needs them.
        ref_logps: The reference's; none where only the log wants them and others are its sample.
        drawn_logps: As the engine returned them.
        entropies: Of the policy where each token was drawn; none without old_logps.
        scores: Total reward of each completion.
        parts: Terms of the reward by label.
        judges: Scores of the judges by label.
        values: The critic's value before each token and after the last; none without a critic.
        support: Allowed ids of each drawn token; none where every token was.
    """

    example: Example
    finished: tuple[str, ...]
    texts: tuple[str, ...]
    old_logps: Floats | None
    ref_logps: Floats | None
    drawn_logps: Floats
    entropies: Floats | None
    scores: tuple[float, ...]
    parts: Mapping[str, tuple[float, ...]]
    judges: Mapping[str, tuple[float, ...]]
    values: list[Floats] | None = None
    support: Supports | None = None

    @property
    def lengths(self) -> list[int]:
        """Drawn tokens of each completion, the one that ended it included."""
        return [len(response.ids) for response in self.example.responses]

    def by_completion(self, column: Floats) -> list[Floats]:
        """A column over all drawn tokens, cut into completions."""
        return np.split(column, np.cumsum(self.lengths)[:-1])


@dataclass(frozen=True)
class Asked:
    """What completions are asked for.

    Args:
        prompts: All of them.
        order: Which prompts a roll-out takes; its batch size is that of a whole roll-out.
        completions: k, completions a prompt.
        slots: Completions decoded at a time.
        seed: Of the samples.
        missing_end_penalty: Taken off the reward of a completion that was cut off.
        rescores: Whether an update needs log-probabilities by the training path: it does where
            the policy moves before all of a roll-out is used.
        needs_reference: Whether an update needs the reference's; else every fourth group's are
            taken, for the log.
    """

    prompts: Sequence[Prompt]
    order: Order
    completions: int
    slots: int
    seed: int
    missing_end_penalty: float
    rescores: bool
    needs_reference: bool


class Rollouts:
    """Samples groups from a frozen copy of what is trained.

    Args:
        model: What is trained: a decoder, or a module that holds one as `policy`.
        engine: Makes the engine for the copy's policy.
        reference: Frozen, in the precision that is computed in.
        drawing: How completions are drawn.
        asked: What is asked for.
        rewards: What completions are worth.
        judges: Scored too, for the log alone; none: nobody judges.
        ranks: Who shares the prompts.
        dtype: What the copy computes in.
        measure: The critic's values of a copy on examples; none without a critic.
    """

    def __init__(
        self,
        model: nn.Module,
        engine: Callable[[Decoder], Any],
        reference: Decoder,
        drawing: Drawing,
        asked: Asked,
        rewards: Rewards,
        judges: Rewards | None,
        ranks: Ranks,
        dtype: torch.dtype,
        measure: Measure | None = None,
    ) -> None:
        self._copy = copy.deepcopy(model).to(dtype).to(ranks.device).eval()
        held = getattr(self._copy, "policy", None)
        self._policy: Any = self._copy if held is None else held
        self._prefix = "" if held is None else "policy."
        self._engine = engine(self._policy)
        self._reference, self._drawing, self._asked = reference, drawing, asked
        self._rewards, self._judges, self._ranks = rewards, judges, ranks
        self._measure = measure

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the trained weights, by the trained module's parameter names."""
        for name, parameter in self._copy.named_parameters():
            parameter.copy_(weights[name])
        prefix = self._prefix
        self._engine.update(
            {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
        )

    def sample(self, number: int) -> list[Group]:
        """Roll-out `number`: one group a prompt, the same on every rank."""
        return self._groups(self._asked.order.indices(number), (number, 0))

    def more(self, number: int, attempt: int, count: int) -> list[Group]:
        """Further groups for roll-out `number`, from prompts of another order."""
        order = self._asked.order
        other = Order(order.rows, count, order.seed + 7919 * attempt)
        return self._groups(other.indices(number), (number, attempt))

    def _groups(self, indices: Sequence[int], mark: tuple[int, int]) -> list[Group]:
        places = list(enumerate(indices))
        ranks = self._ranks
        mine = self._answered(places[ranks.rank :: ranks.world], mark)
        shares = ranks.gather(mine)
        return [shares[i % ranks.world][i // ranks.world] for i in range(len(places))]

    def _answered(self, places: Sequence[tuple[int, int]], mark: tuple[int, int]) -> list[Group]:
        """This rank's groups; a sample depends on its place in the roll-out alone."""
        asked, k = self._asked, self._asked.completions
        prompts = [asked.prompts[index] for _, index in places]
        seeds = [
            int(digest([asked.seed, *mark, place, i])[:12], 16)
            for place, _ in places
            for i in range(k)
        ]
        each = [prompt for prompt in prompts for _ in range(k)]
        completions = self._engine.generate(
            [prompt.ids for prompt in each], self._drawing.sampling, seeds, asked.slots
        )
        answers = [
            answered(p, c.text, c.ids, c.finished) for p, c in zip(each, completions, strict=True)
        ]
        scored = self._rewards(answers)
        judged = self._judges(answers).parts if self._judges else {}
        groups = [slice(i * k, (i + 1) * k) for i in range(len(prompts))]
        examples = [
            example(prompt, completions[group])
            for prompt, group in zip(prompts, groups, strict=True)
        ]
        return self._measured(examples, completions, groups, scored.total, scored.parts, judged)

    def _measured(
        self,
        examples: Sequence[Example],
        completions: Sequence[Completion],
        groups: Sequence[slice],
        totals: Sequence[float],
        parts: Mapping[str, Sequence[float]],
        judged: Mapping[str, Sequence[float]],
    ) -> list[Group]:
        penalty = self._asked.missing_end_penalty
        supports = self._supports(examples)
        everyone, nobody = range(len(examples)), range(0)
        old, entropies = self._logps(
            self._policy, examples, supports, everyone if self._asked.rescores else nobody
        )
        some = everyone if self._asked.needs_reference else everyone[::LOGGED]
        reference, _ = self._logps(self._reference, examples, supports, some)
        values = self._measure(self._copy, examples) if self._measure else None
        cut = [penalty * (completion.finished == "length") for completion in completions]
        totals = [total - minus for total, minus in zip(totals, cut, strict=True)]
        return [
            Group(
                example,
                tuple(c.finished for c in completions[group]),
                tuple(c.text for c in completions[group]),
                old[i],
                reference[i],
                np.array([x for c in completions[group] for x in c.logps], dtype=np.float32),
                entropies[i],
                tuple(totals[group]),
                {label: tuple(column[group]) for label, column in parts.items()},
                {label: tuple(column[group]) for label, column in judged.items()},
                values[i] if values else None,
                supports[i],
            )
            for i, (example, group) in enumerate(zip(examples, groups, strict=True))
        ]

    def _logps(
        self,
        model: Any,
        examples: Sequence[Example],
        supports: Sequence[Supports | None],
        places: Sequence[int],
    ) -> tuple[list[Floats | None], list[Floats | None]]:
        """Log-probabilities and entropies under `model` of the examples at these places."""
        chosen = [examples[i] for i in places]
        found = drawn_logps(model, chosen, self._drawing, [supports[i] for i in places])
        logps: list[Floats | None] = [None] * len(examples)
        entropies = list(logps)
        for i, own, entropy in zip(places, *found, strict=True):
            logps[i], entropies[i] = own, entropy
        return logps, entropies

    def _supports(self, examples: Sequence[Example]) -> list[Supports | None]:
        drawing = self._drawing
        if not drawing.truncates:
            return [None] * len(examples)
        pairs = [(e.prompt, response.ids) for e in examples for response in e.responses]
        found = iter(
            drawn_supports(self._policy, pairs, drawing.sampling, drawing.tokens, drawing.forbidden)
        )
        return [
            tuple(
                _with(ids, token)
                for response in e.responses
                for ids, token in zip(next(found), response.ids, strict=True)
            )
            for e in examples
        ]


def _with(ids: NDArray[np.int64], token: int) -> NDArray[np.int64]:
    """The support with the drawn token: at its edge, rounding may have left it out."""
    return ids if token in ids else np.append(ids, token)


def example(prompt: Prompt, completions: Sequence[Completion]) -> Example:
    """A prompt with its completions, every drawn token to be scored."""
    responses = tuple(Response(c.ids, (True,) * len(c.ids)) for c in completions)
    return Example(tuple(prompt.ids), responses, prompt.id)

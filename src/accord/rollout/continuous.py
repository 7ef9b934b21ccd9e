"""Continuous batching: completions join and leave between decoding steps, each with its settings.

Where `engine.Engine` completes a fixed list of prompts, this is driven step by step: what a server
needs, whose requests come and go. A completion depends on its prompt, settings and seed; who else
is in the batch changes it only where rounding does.

Axes: B rows being decoded, N tokens of a packed prefill, V vocabulary, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.model.cache import KVCache
from accord.rollout.decode import head_for
from accord.rollout.engine import Engine
from accord.rollout.requests import check_finite
from accord.rollout.sampling import draw_, uniforms


@dataclass(frozen=True)
class Token:
    """A token that was drawn.

    Args:
        id: Its id.
        logp: Natural log-probability under the model itself, before penalties, temperature and
            truncation; none where it was not asked for.
        likeliest: Ids and such log-probabilities of the likeliest tokens there, descending.
    """

    id: int
    logp: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(eq=False)
class Drawing:
    """A completion on its way.

    Args:
        prompt: Token ids, at least one.
        sampling: Temperature, top-k, top-p and min-p are read.
        seed: The same seed gives the same tokens.
        budget: Tokens it may draw.
        alternatives: How many of the likeliest tokens to name beside each drawn one; none: no
            log-probabilities at all.
        presence: Taken off the logit of every token that was drawn before.
        frequency: Taken off it as often as it was drawn.
        ids: Tokens drawn so far.
    """

    prompt: tuple[int, ...]
    sampling: SamplingConfig
    seed: int
    budget: int
    alternatives: int | None = None
    presence: float = 0.0
    frequency: float = 0.0
    ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.uniform_T = uniforms(self.seed, self.budget).tolist()


class Continuous:
    """The completions being decoded: number i of `live` is in slot i of the cache.

    Args:
        engine: Its model, the tokens that are never drawn, its forward pass.
        slots: Completions decoded at a time.
        length: Tokens of a prompt and its completion at most.
    """

    def __init__(self, engine: Engine, slots: int, length: int) -> None:
        weight = engine.model.head_weight_VD
        self.forward, self.device, self.slots = engine.forward, weight.device, slots
        self.cache = KVCache(engine.model.config, slots, length, weight.dtype, weight.device)
        self.tokens = len(engine.tokenizer)
        self.head_DV = head_for(weight, self.tokens, slots)
        self.forbidden = self._tensor(engine.forbidden)
        self.live: list[Drawing] = []

    @property
    def room(self) -> int:
        """How many more can join."""
        return self.slots - len(self.live)

    @torch.inference_mode()
    def join(self, drawings: Sequence[Drawing]) -> list[Token]:
        """Read these prompts, equal ones once, and draw the first token of each.

        Args:
            drawings: At least one, at most `room`.

        Raises:
            AccordError: The model's logits are NaN.
        """
        first = len(self.live)
        home: dict[tuple[int, ...], int] = {}
        for slot, drawing in enumerate(drawings, first):
            home.setdefault(drawing.prompt, slot)
        lengths = [len(prompt) for prompt in home]
        attend = self.cache.prefill(list(home.values()), lengths)
        ids_N = self._tensor([token for prompt in home for token in prompt])
        ends_B = self._tensor(lengths).cumsum(0) - 1
        last_BD = self.forward(ids_N, attend.position_N, attend, ends_B)
        for slot, drawing in enumerate(drawings, first):
            if home[drawing.prompt] != slot:
                self.cache.copy(home[drawing.prompt], [slot], len(drawing.prompt))
        place = {prompt: i for i, prompt in enumerate(home)}
        self.live += drawings
        return self._draw(last_BD[[place[drawing.prompt] for drawing in drawings]], drawings)

    @torch.inference_mode()
    def step(self) -> list[Token]:
        """The next token of every live completion, in the order of `live`; at least one is.

        Raises:
            AccordError: The model's logits are NaN.
        """
        attend = self.cache.step(range(len(self.live)))
        ids_B = self._tensor([drawing.ids[-1] for drawing in self.live])
        return self._draw(self.forward(ids_B, attend.position_N, attend, None), self.live)

    @torch.inference_mode()
    def leave(self, drawings: Sequence[Drawing]) -> None:
        """Take completions out; the last one moves into each place that falls empty."""
        gone = set(map(id, drawings))
        places = [place for place, drawing in enumerate(self.live) if id(drawing) in gone]
        for place in reversed(places):
            last = self.live.pop()
            if place < len(self.live):
                self.live[place] = last
                self.cache.copy(len(self.live), [place])

    def _draw(self, hidden_BD: Tensor, drawings: Sequence[Drawing]) -> list[Token]:
        logits_BV = torch.mm(hidden_BD, self.head_DV).float()
        logits_BV[:, self.tokens :] = -torch.inf
        if len(self.forbidden):
            logits_BV.index_fill_(1, self.forbidden, -torch.inf)
        asked = [i for i, drawing in enumerate(drawings) if drawing.alternatives is not None]
        logps_AV = logits_BV[asked].log_softmax(-1) if asked else None
        for logits_V, drawing in zip(logits_BV, drawings, strict=True):
            _penalise_(logits_V, drawing)
        ids = self._drawn(logits_BV, drawings)
        tokens = [Token(token) for token in ids]
        if logps_AV is not None:
            for i, logps_V in zip(asked, logps_AV, strict=True):
                tokens[i] = _described(ids[i], logps_V, drawings[i].alternatives or 0)
        for drawing, token in zip(drawings, ids, strict=True):
            drawing.ids.append(token)
        return tokens

    def _drawn(self, logits_BV: Tensor, drawings: Sequence[Drawing]) -> list[int]:
        """One token a row; rows of equal settings are drawn together. Overwrites the logits."""
        uniform_B = torch.tensor([d.uniform_T[len(d.ids)] for d in drawings], device=self.device)
        alike: dict[SamplingConfig, list[int]] = {}
        for i, drawing in enumerate(drawings):
            alike.setdefault(drawing.sampling, []).append(i)
        if len(alike) == 1:
            token_B, logp_B = draw_(logits_BV, uniform_B, drawings[0].sampling)
        else:
            token_B = torch.empty(len(drawings), dtype=torch.int64, device=self.device)
            logp_B = torch.empty(len(drawings), device=self.device)
            for sampling, rows in alike.items():
                token_B[rows], logp_B[rows] = draw_(logits_BV[rows], uniform_B[rows], sampling)
        check_finite(logp_B.tolist(), "decoding")
        return token_B.tolist()

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def _penalise_(logits_V: Tensor, drawing: Drawing) -> None:
    """Take presence and frequency penalties off the logits of tokens drawn before."""
    if not drawing.ids or not (drawing.presence or drawing.frequency):
        return
    ids_T = torch.tensor(drawing.ids, device=logits_V.device)
    ids_K, counts_K = ids_T.unique(return_counts=True)
    logits_V[ids_K] -= drawing.presence + drawing.frequency * counts_K


def _described(token: int, logps_V: Tensor, alternatives: int) -> Token:
    likeliest: tuple[tuple[int, float], ...] = ()
    if alternatives:
        values_K, ids_K = logps_V.topk(min(alternatives, len(logps_V)))
        likeliest = tuple(zip(ids_K.tolist(), values_K.tolist(), strict=True))
    return Token(token, float(logps_V[token]), likeliest)

"""Batched decoding with a key-value cache, finished rows replaced by waiting prompts.

Axes: B rows being decoded, N tokens of a packed prefill, T steps, V vocabulary, L history.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import torch
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.model.cache import KVCache
from accord.model.decoder import Decoder
from accord.rollout.decode import Forward, head_for
from accord.rollout.requests import Finish
from accord.rollout.sampling import draw_, forbid_ngrams, penalise_repetition
from accord.text.tokenizer import Tokenizer

_PREFILL_TOKENS = 8192


@dataclass
class Row:
    """A prompt on its way.

    Args:
        index: Its place in the order asked for.
        group: The same number for equal prompts.
        prompt: Token ids.
        budget: Tokens it may draw.
        uniform_T: The number that each of them is drawn with.
        ids: Tokens so far.
        logps: Their log-probabilities.
    """

    index: int
    group: int
    prompt: tuple[int, ...]
    budget: int
    uniform_T: Tensor
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)


class Batch:
    """The rows being decoded: row i is in slot i of the cache, so that steps read it as a view.

    Args:
        model: The decoder.
        forward: What reads tokens for it.
        tokenizer: Decodes rows where there are stop strings.
        end_ids: Tokens that end a row.
        forbidden: Tokens that are never drawn.
        sampling: Settings of the draw.
        waiting: All rows that will ever join.
        slots: Rows decoded at a time.
    """

    def __init__(
        self,
        model: Decoder,
        forward: Forward,
        tokenizer: Tokenizer,
        end_ids: AbstractSet[int],
        forbidden: Sequence[int],
        sampling: SamplingConfig,
        waiting: Sequence[Row],
        slots: int,
    ) -> None:
        self.forward, self.sampling = forward, sampling
        self.tokenizer, self.end_ids = tokenizer, end_ids
        weight = model.head_weight_VD
        self.device = weight.device
        length = max(len(row.prompt) + row.budget for row in waiting)
        self.cache = KVCache(model.config, slots, length, weight.dtype, self.device)
        self.slots = slots
        self.rows: list[Row] = []
        # what steps drew since rows were last looked at, and after how many some row is full
        self.drawn: list[tuple[list[int], list[float]]] = []
        self.least = 0
        # the last hidden state of each prompt that a live row holds
        self.prompt_end: dict[int, Tensor] = {}
        self.tokens = len(tokenizer)
        self.head_DV = head_for(weight, self.tokens, slots)
        self.forbidden = self._tensor(forbidden)
        self.history = (
            torch.zeros(slots, length, dtype=torch.int64, device=self.device)
            if sampling.repetition_penalty != 1 or sampling.no_repeat_ngram_size
            else None
        )
        # a stop string of n bytes spans at most n tokens; 4 more hold a cut character
        self.window = max((len(stop.encode()) for stop in sampling.stop), default=0) + 4

    def advance(self, waiting: list[Row]) -> list[tuple[Row, Finish]]:
        """The first token of rows that join, or one token for every row; returns who finished."""
        room = self.slots - len(self.rows)
        # a prefill costs about as much as a step, so rows join in groups
        if waiting and (not self.rows or 8 * room >= self.slots):
            first = len(self.rows)
            self.rows += _joining(waiting, room)
            token_B, logp_B = self._prefill(first)
            tokens, logps = token_B[:, None].tolist(), logp_B[:, None].tolist()
            finished = self._record(self.rows[first:], tokens, logps)
            changed = True
        else:
            finished = self._noted(*self._step())
            changed = bool(finished)
        if changed:
            self._leave(finished)
            self._rebuild()
        return finished

    def _prefill(self, first: int) -> tuple[Tensor, Tensor]:
        """The first token of the rows from `first` on, whose prompts are read where none has."""
        rows = self.rows[first:]
        home: dict[int, int] = {}
        for slot, row in enumerate(self.rows):
            home.setdefault(row.group, slot)
        new = sorted(slot for slot in home.values() if slot >= first)
        self.prompt_end = {group: self.prompt_end[group] for group in home if home[group] < first}
        if new:
            self._read(new)
        copies: dict[int, list[int]] = {}
        for slot, row in enumerate(rows, first):
            if home[row.group] != slot:
                copies.setdefault(home[row.group], []).append(slot)
        for source, slots in copies.items():
            self.cache.copy(source, slots, len(self.rows[source].prompt))
        if self.history is not None:
            for slot, row in enumerate(rows, first):
                # padding by a token of the history leaves the repetition penalty as it is
                self.history[slot] = row.prompt[0]
                self.history[slot, : len(row.prompt)] = self._tensor(row.prompt)
        hidden_BD = torch.stack([self.prompt_end[row.group] for row in rows])
        length_B = self._tensor([len(row.prompt) for row in rows])
        uniform_B = torch.stack([row.uniform_T[0] for row in rows]).to(self.device)
        return self._draw(hidden_BD, first, length_B, uniform_B)

    def _read(self, slots: Sequence[int]) -> None:
        """Prefill the prompts of these slots."""
        rows = [self.rows[slot] for slot in slots]
        lengths = [len(row.prompt) for row in rows]
        attend = self.cache.prefill(slots, lengths)
        ids_N = self._tensor([token for row in rows for token in row.prompt])
        ends_B = self._tensor(lengths).cumsum(0) - 1
        last_BD = self.forward(ids_N, attend.position_N, attend, ends_B)
        self.prompt_end |= zip((row.group for row in rows), last_BD, strict=True)

    def _step(self) -> tuple[Tensor, Tensor]:
        attend = self.cache.step(range(len(self.rows)))
        if self.history is not None:
            self.history[torch.arange(len(self.rows)), attend.position_N] = self.token_B
        hidden_BD = self.forward(self.token_B, attend.position_N, attend, None)
        uniform_B = self.uniform_TB[self.ahead]
        self.ahead += 1
        self.token_B, logp_B = self._draw(hidden_BD, 0, attend.position_N + 1, uniform_B)
        return self.token_B, logp_B

    def _draw(
        self, hidden_BD: Tensor, first: int, length_B: Tensor, uniform_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits_BV, sampling = torch.mm(hidden_BD, self.head_DV).float(), self.sampling
        logits_BV[:, self.tokens :] = -torch.inf
        if self.history is not None:
            history_BL = self.history[first : first + len(hidden_BD)]
            if sampling.repetition_penalty != 1:
                logits_BV = penalise_repetition(logits_BV, history_BL, sampling.repetition_penalty)
            size = sampling.no_repeat_ngram_size
            if size:
                logits_BV = forbid_ngrams(logits_BV, history_BL, length_B, size)
        if len(self.forbidden):
            logits_BV.index_fill_(1, self.forbidden, -torch.inf)
        token_B, logp_B = draw_(logits_BV, uniform_B, sampling)
        # logits of NaN draw the last column; what they gave is refused when the row is done
        return token_B.clamp_max_(self.tokens - 1), logp_B

    def _noted(self, token_B: Tensor, logp_B: Tensor) -> list[tuple[Row, Finish]]:
        """Keep what a step drew until some row may be finished; returns those that are."""
        tokens = token_B.tolist()
        self.drawn.append((tokens, logp_B.tolist()))
        if (
            not self.sampling.stop
            and self.end_ids.isdisjoint(tokens)
            and len(self.drawn) < self.least
        ):
            return []
        drawn, self.drawn = self.drawn, []
        tokens_BT, logps_BT = (zip(*steps, strict=True) for steps in zip(*drawn, strict=True))
        return self._record(self.rows, tokens_BT, logps_BT)

    def _record(
        self,
        rows: Sequence[Row],
        tokens_BT: Iterable[Iterable[int]],
        logps_BT: Iterable[Iterable[float]],
    ) -> list[tuple[Row, Finish]]:
        """Append tokens to rows; returns those that their last token finished."""
        finished: list[tuple[Row, Finish]] = []
        for row, tokens, logps in zip(rows, tokens_BT, logps_BT, strict=True):
            row.ids += tokens
            row.logps += logps
            token = row.ids[-1]
            if token in self.end_ids:
                finished.append((row, "end" if token == self.tokenizer.end_id else "stop"))
            elif self.sampling.stop and self._stops(row):
                finished.append((row, "stop"))
            elif len(row.ids) == row.budget:
                finished.append((row, "length"))
        return finished

    def _stops(self, row: Row) -> bool:
        decode, stops = self.tokenizer.decode, self.sampling.stop
        tail = decode(row.ids[-self.window :])
        if not any(stop in tail for stop in stops):
            return False
        text = decode(row.ids)
        return any(stop in text for stop in stops)

    def _leave(self, finished: Sequence[tuple[Row, Finish]]) -> None:
        """Take rows out, the last live row moving into each place that falls empty."""
        places = {id(row): place for place, row in enumerate(self.rows)}
        for place in sorted((places[id(row)] for row, _ in finished), reverse=True):
            last = self.rows.pop()
            if place == len(self.rows):
                continue
            self.rows[place] = last
            self.cache.copy(len(self.rows), [place])
            if self.history is not None:
                self.history[place] = self.history[len(self.rows)]

    def _rebuild(self) -> None:
        """The rows' last tokens and the uniforms they will use, aligned at the next step."""
        self.token_B = self._tensor([row.ids[-1] for row in self.rows])
        self.ahead = 0
        if self.rows:
            self.least = min(row.budget - len(row.ids) for row in self.rows)
            to_come = [row.uniform_T[len(row.ids) :] for row in self.rows]
            self.uniform_TB = torch.nn.utils.rnn.pad_sequence(to_come).to(self.device)

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def _joining(waiting: list[Row], room: int) -> list[Row]:
    """Take up to `room` rows off the end of `waiting`, as many as one prefill should read."""
    rows, tokens = [waiting.pop()], 0
    while waiting and len(rows) < room:
        if waiting[-1].group != rows[-1].group:
            tokens += len(rows[-1].prompt)
            if tokens + len(waiting[-1].prompt) > _PREFILL_TOKENS:
                break
        rows.append(waiting.pop())
    return rows

"""Batched decoding with a key-value cache, finished rows replaced by waiting prompts.

A completion depends on its prompt, the settings and its seed; batch neighbours, the batch size and
the order of the prompts change it only where rounding does (logits differ in their last bits).

Axes: B rows being decoded, N tokens of a packed prefill, T steps, V vocabulary, L history.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.model.cache import KVCache
from accord.model.decoder import Decoder
from accord.rollout.sampling import draw_, forbid_ngrams, penalise_repetition, uniforms
from accord.text.tokenizer import Tokenizer

_PREFILL_TOKENS = 8192
Finish = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt.

    Args:
        ids: Every token drawn, the one that ended the completion included.
        logps: Natural log-probability each token was drawn at, under the distribution that
            penalties, temperature and truncation left; at temperature 0 the plain ones.
        finished: `end` by the end token, `stop` by a stop token or string, `length` by a limit.
        text: The decoded tokens without the ending token, cut before the stop string.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    finished: Finish
    text: str


@dataclass
class _Row:
    """A prompt on its way: its place in the order asked for, and its tokens so far."""

    index: int
    prompt: Sequence[int]
    budget: int
    uniform_T: Tensor
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)


class Engine:
    """Generates with one model and its tokenizer.

    Args:
        model: The decoder; its device and dtype are used as they are.
        tokenizer: Ends completions at its end token, decodes them.
        stop_ids: Further tokens that end a completion, such as `<|im_end|>`.

    Raises:
        AccordError: The tokenizer has more tokens than the model's embedding has rows.
    """

    def __init__(self, model: Decoder, tokenizer: Tokenizer, stop_ids: Sequence[int] = ()) -> None:
        rows = model.config.vocab_size
        if len(tokenizer) > rows:
            raise AccordError(
                f"the tokenizer has {len(tokenizer)} tokens, the model's embedding {rows} rows",
                fix="load the tokenizer that was saved with the model",
            )
        self.model, self.tokenizer = model, tokenizer
        self.end_ids = frozenset((tokenizer.end_id, *stop_ids))
        pad = tokenizer.pad_id
        self.forbidden = () if pad is None or pad in self.end_ids else (pad,)
        """Tokens that are never drawn; rows that only pad the embedding are not even scored."""

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        seeds: Sequence[int],
        batch_size: int = 64,
    ) -> list[Completion]:
        """Complete every prompt; completions come in the order of the prompts.

        Args:
            prompts: Token ids, at least one a prompt.
            sampling: Penalties, truncation, limits and stop strings.
            seeds: One a prompt.
            batch_size: Rows decoded at a time; memory grows with it.

        Raises:
            AccordError: A prompt is empty, too long or has foreign ids; seeds don't match the
                prompts; batch_size is below 1; a drawn token has no finite log-probability.
        """
        self._check(prompts, seeds, batch_size)
        if not prompts:
            return []
        limit = self.model.config.max_position_embeddings
        waiting = []
        # neighbours of like length share the cache's width best; the last one is taken first
        for i in sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i), reverse=True):
            budget = min(sampling.max_new_tokens, limit - len(prompts[i]))
            waiting.append(_Row(i, prompts[i], budget, uniforms(seeds[i], budget)))
        batch = _Batch(self, sampling, waiting, min(batch_size, len(prompts)))
        done: list[Completion | None] = [None] * len(prompts)
        while waiting or batch.rows:
            for row, finished in batch.advance(waiting):
                done[row.index] = self._completion(row, finished, sampling)
        return [completion for completion in done if completion is not None]

    def _check(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], batch_size: int
    ) -> None:
        if len(seeds) != len(prompts):
            raise AccordError(
                f"{len(prompts)} prompts came with {len(seeds)} seeds", fix="give a seed a prompt"
            )
        if batch_size < 1:
            raise AccordError(f"batch_size is {batch_size}", fix="give 1 or more")
        limit, known = self.model.config.max_position_embeddings, len(self.tokenizer)
        for i, prompt in enumerate(prompts):
            if not len(prompt):
                raise AccordError("a prompt has no tokens", f"prompt {i}", "give at least one")
            if len(prompt) >= limit:
                raise AccordError(
                    f"a prompt of {len(prompt)} tokens leaves no room to answer: the model reads "
                    f"{limit} positions",
                    f"prompt {i}",
                    f"shorten it to at most {limit - 1} tokens",
                )
            if not 0 <= min(prompt) <= max(prompt) < known:
                raise AccordError(
                    f"a prompt holds an id outside the tokenizer's 0 to {known - 1}",
                    f"prompt {i}",
                    "encode it with the model's own tokenizer",
                )

    def _completion(self, row: _Row, finished: Finish, sampling: SamplingConfig) -> Completion:
        if not torch.tensor(row.logps).isfinite().all():
            raise AccordError(
                "a token was drawn at a log-probability that is not finite",
                f"prompt {row.index}",
                "the model's logits are NaN, or the settings forbid every token",
            )
        shown = row.ids[:-1] if row.ids[-1] in self.end_ids else row.ids
        text = self.tokenizer.decode(shown)
        cuts = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
        return Completion(
            tuple(row.ids), tuple(row.logps), finished, text[: min(cuts, default=len(text))]
        )


class _Batch:
    """The rows being decoded: row i is in slot i of the cache, so that steps read it as a view."""

    def __init__(
        self, engine: Engine, sampling: SamplingConfig, waiting: Sequence[_Row], slots: int
    ) -> None:
        self.engine, self.model, self.sampling = engine, engine.model, sampling
        weight = self.model.head_weight_VD
        self.device = weight.device
        length = max(len(row.prompt) + row.budget for row in waiting)
        self.cache = KVCache(self.model.config, slots, length, weight.dtype, self.device)
        self.slots = slots
        self.rows: list[_Row] = []
        self.head_VD = weight[: len(engine.tokenizer)]
        self.forbidden = self._tensor(engine.forbidden)
        self.history = (
            torch.zeros(slots, length, dtype=torch.int64, device=self.device)
            if sampling.repetition_penalty != 1 or sampling.no_repeat_ngram_size
            else None
        )
        # a stop string of n bytes spans at most n tokens; 4 more hold a cut character
        self.window = max((len(stop.encode()) for stop in sampling.stop), default=0) + 4

    def advance(self, waiting: list[_Row]) -> list[tuple[_Row, Finish]]:
        """The first token of rows that join, or one token for every row; returns who finished."""
        room = self.slots - len(self.rows)
        # a prefill costs about as much as a step, so rows join in groups
        if waiting and (not self.rows or 8 * room >= self.slots):
            first = len(self.rows)
            self.rows += _joining(waiting, room)
            finished = self._record(first, *self._prefill(first))
            changed = True
        else:
            finished = self._record(0, *self._step())
            changed = bool(finished)
        if changed:
            self._leave(finished)
            self._rebuild()
        return finished

    def _prefill(self, first: int) -> tuple[Tensor, Tensor]:
        rows = self.rows[first:]
        slots = range(first, len(self.rows))
        lengths = [len(row.prompt) for row in rows]
        attend = self.cache.prefill(slots, lengths)
        ids_N = self._tensor([token for row in rows for token in row.prompt])
        hidden_ND = self.model(ids_N, attend.position_N, attend)
        if self.history is not None:
            for slot, row in zip(slots, rows, strict=True):
                # padding by a token of the history leaves the repetition penalty as it is
                self.history[slot] = row.prompt[0]
                self.history[slot, : len(row.prompt)] = self._tensor(row.prompt)
        length_B = self._tensor(lengths)
        uniform_B = torch.stack([row.uniform_T[0] for row in rows]).to(self.device)
        return self._draw(hidden_ND[length_B.cumsum(0) - 1], first, length_B, uniform_B)

    def _step(self) -> tuple[Tensor, Tensor]:
        attend = self.cache.step(range(len(self.rows)))
        if self.history is not None:
            self.history[torch.arange(len(self.rows)), attend.position_N] = self.token_B
        hidden_BD = self.model(self.token_B, attend.position_N, attend)
        uniform_B = self.uniform_TB[self.ahead]
        self.ahead += 1
        self.token_B, logp_B = self._draw(hidden_BD, 0, attend.position_N + 1, uniform_B)
        return self.token_B, logp_B

    def _draw(
        self, hidden_BD: Tensor, first: int, length_B: Tensor, uniform_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits_BV, sampling = F.linear(hidden_BD, self.head_VD).float(), self.sampling
        if self.history is not None:
            history_BL = self.history[first : first + len(hidden_BD)]
            if sampling.repetition_penalty != 1:
                logits_BV = penalise_repetition(logits_BV, history_BL, sampling.repetition_penalty)
            size = sampling.no_repeat_ngram_size
            if size:
                logits_BV = forbid_ngrams(logits_BV, history_BL, length_B, size)
        if len(self.forbidden):
            logits_BV.index_fill_(1, self.forbidden, -torch.inf)
        return draw_(logits_BV, uniform_B, sampling)

    def _record(self, first: int, token_B: Tensor, logp_B: Tensor) -> list[tuple[_Row, Finish]]:
        """Append the tokens to the rows from `first` on; returns those that are finished."""
        finished: list[tuple[_Row, Finish]] = []
        rows = self.rows[first:]
        for row, token, logp in zip(rows, token_B.tolist(), logp_B.tolist(), strict=True):
            row.ids.append(token)
            row.logps.append(logp)
            if token in self.engine.end_ids:
                finished.append((row, "end" if token == self.engine.tokenizer.end_id else "stop"))
            elif self.sampling.stop and self._stops(row):
                finished.append((row, "stop"))
            elif len(row.ids) == row.budget:
                finished.append((row, "length"))
        return finished

    def _stops(self, row: _Row) -> bool:
        decode, stops = self.engine.tokenizer.decode, self.sampling.stop
        tail = decode(row.ids[-self.window :])
        if not any(stop in tail for stop in stops):
            return False
        text = decode(row.ids)
        return any(stop in text for stop in stops)

    def _leave(self, finished: Sequence[tuple[_Row, Finish]]) -> None:
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
            to_come = [row.uniform_T[len(row.ids) :] for row in self.rows]
            self.uniform_TB = torch.nn.utils.rnn.pad_sequence(to_come).to(self.device)

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def _joining(waiting: list[_Row], room: int) -> list[_Row]:
    """Take up to `room` rows off the end of `waiting`, as many as one prefill should read."""
    rows, tokens = [waiting.pop()], 0
    while waiting and len(rows) < room:
        tokens += len(rows[-1].prompt)
        if tokens + len(waiting[-1].prompt) > _PREFILL_TOKENS:
            break
        rows.append(waiting.pop())
    return rows

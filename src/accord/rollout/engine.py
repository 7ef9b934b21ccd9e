"""Completions of prompts by one model: what every stage that generates calls.

A completion depends on its prompt, the settings and its seed; batch neighbours, the batch size and
the order of the prompts change it only where rounding does (logits differ in their last bits).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.errors import AccordError, did_you_mean
from accord.model.decoder import Decoder
from accord.rollout.batch import Batch, Finish, Row
from accord.rollout.decode import Forward, Fused, expresses, plain
from accord.rollout.sampling import uniforms
from accord.text.tokenizer import Tokenizer


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
        self.forward: Forward = Fused(model) if expresses(model) else plain(model)
        """What reads tokens: `decode.plain(model)` is its slow twin."""
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
        if isinstance(self.forward, Fused):
            self.forward.refresh()
        waiting = self._waiting(prompts, sampling, seeds)
        batch = Batch(
            self.model,
            self.forward,
            self.tokenizer,
            self.end_ids,
            self.forbidden,
            sampling,
            waiting,
            min(batch_size, len(prompts)),
        )
        done: list[Completion | None] = [None] * len(prompts)
        while waiting or batch.rows:
            for row, finished in batch.advance(waiting):
                done[row.index] = self._completion(row, finished, sampling)
        return [completion for completion in done if completion is not None]

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take new weights into the model, cast to its dtype and device.

        Args:
            weights: Every parameter by Accord's name, as `model.named_parameters()` gives them.

        Raises:
            AccordError: A parameter is unknown, missing or of another shape; none is changed then.
        """
        own = dict(self.model.named_parameters())
        for name in weights:
            if name not in own:
                raise AccordError(
                    f"the roll-out engine's model has no parameter {name!r}",
                    fix=did_you_mean(name, own),
                )
        for name, parameter in own.items():
            given = tuple(weights[name].shape) if name in weights else None
            if given != tuple(parameter.shape):
                raise AccordError(
                    f"the new weights have {name!r} of shape {given}, the roll-out engine's model "
                    f"{tuple(parameter.shape)}",
                    fix="hand over the weights of a model of the same shape, all of them",
                )
        for name, parameter in own.items():
            parameter.copy_(weights[name])

    def _waiting(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int]
    ) -> list[Row]:
        """The rows in the order they join, the last one first."""
        keys = [tuple(prompt) for prompt in prompts]
        first: dict[tuple[int, ...], int] = {}
        groups = [first.setdefault(key, i) for i, key in enumerate(keys)]
        limit, rows = self.model.config.max_position_embeddings, []
        # neighbours of like length share the cache's width best, equal prompts their prefill
        order = sorted(range(len(keys)), key=lambda i: (len(keys[i]), groups[i], i), reverse=True)
        for i in order:
            budget = min(sampling.max_new_tokens, limit - len(keys[i]))
            rows.append(Row(i, groups[i], keys[i], budget, uniforms(seeds[i], budget)))
        return rows

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

    def _completion(self, row: Row, finished: Finish, sampling: SamplingConfig) -> Completion:
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

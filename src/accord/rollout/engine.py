"""Completions of prompts by one model: what every stage that generates calls.

A completion depends on its prompt, the settings and its seed; batch neighbours, the batch size and
the order of the prompts change it only where rounding does (logits differ in their last bits).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.rollout.batch import Batch, Row
from accord.rollout.decode import Forward, Fused, expresses, plain
from accord.rollout.requests import (
    Completion,
    Finish,
    check_finite,
    check_requests,
    check_weights,
    shown_text,
)
from accord.rollout.sampling import uniforms
from accord.text.tokenizer import Tokenizer


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
            AccordError: As `requests.check_requests`; a drawn token has no finite log-probability.
        """
        limit = self.model.config.max_position_embeddings
        check_requests(prompts, seeds, batch_size, limit, len(self.tokenizer))
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
        check_weights(weights, {name: parameter.shape for name, parameter in own.items()})
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

    def _completion(self, row: Row, finished: Finish, sampling: SamplingConfig) -> Completion:
        check_finite(row.logps, f"prompt {row.index}")
        text, _ = shown_text(row.ids, self.tokenizer, self.end_ids, sampling)
        return Completion(tuple(row.ids), tuple(row.logps), finished, text)

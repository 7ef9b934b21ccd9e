"""A reward model as a reward: the score of prompt and completion, whatever else is in the batch."""

from collections.abc import Sequence
from pathlib import Path

import torch

from accord.checkpoint.scorer_folder import load_scorer
from accord.data.packing import Example, Response
from accord.data.scoring import collate_scored
from accord.errors import AccordError
from accord.rewards.answer import Answer
from accord.text.chat import render
from accord.text.messages import Message, Messages
from accord.text.tokenizer import Tokenizer

ANSWERS_AT_ONCE = 64


class ModelReward:
    """Scores answers with the reward model of a folder.

    The ids that the policy read and drew are scored as they are, the end token included, where the
    reward model reads the same tokens; else the text is encoded anew, by the reward model's
    tokenizer and chat template.

    Args:
        folder: A reward model's folder with its tokenizer.
        tokenizer: The policy's, whose ids the answers hold.
        device: Where it scores.
        dtype: In which precision; none: as stored.

    Raises:
        AccordError: The folder holds no reward model or no tokenizer.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.folder, self.device = folder, device
        self.scorer = load_scorer(folder, dtype, device).eval().requires_grad_(False)
        own = Tokenizer.load(folder)
        self.tokenizer = None if own.same_ids(tokenizer) else own
        """The reward model's own, where it is another than the policy's."""

    @torch.no_grad()
    def __call__(self, answers: Sequence[Answer]) -> list[float]:
        """The score of each answer.

        Raises:
            AccordError: An answer is longer than what the model reads, or its score no finite
                number; names the sample.
        """
        examples = [self._example(answer) for answer in answers]
        # alike lengths together: padding is all that this decides
        order = sorted(range(len(examples)), key=lambda i: examples[i].length)
        scores = [0.0] * len(examples)
        for at in range(0, len(order), ANSWERS_AT_ONCE):
            chosen = order[at : at + ANSWERS_AT_ONCE]
            batch = collate_scored([examples[i] for i in chosen], self.scorer.pooling)
            scores_R = self.scorer(batch.to(self.device))
            if not scores_R.isfinite().all():
                worst = chosen[int((~scores_R.isfinite()).nonzero()[0])]
                raise AccordError(
                    "The reward model's score is no finite number.",
                    answers[worst].shown,
                    f"train the model in {self.folder} anew, or score in float32",
                )
            for i, score in zip(chosen, scores_R.tolist(), strict=True):
                scores[i] = score
        return scores

    def _example(self, answer: Answer) -> Example:
        prompt, ids = tuple(answer.prompt_ids), tuple(answer.ids)
        if self.tokenizer is not None:
            prompt, ids = (), tuple(reencoded(answer, self.tokenizer))
        limit = self.scorer.config.max_position_embeddings
        if len(prompt) + len(ids) > limit:
            raise AccordError(
                f"The answer has {len(prompt) + len(ids)} tokens with its prompt, the reward model "
                f"reads {limit}.",
                answer.shown,
                "lower max_new_tokens, or train the reward model with more positions",
            )
        return Example(prompt, (Response(ids, (True,) * len(ids)),), answer.name)


def reencoded(answer: Answer, tokenizer: Tokenizer) -> list[int]:
    """Prompt and response as another tokenizer and its chat template have them.

    A response that was cut off has no end token here either.
    """
    response = "text" if _plain(answer, tokenizer) else "assistant"
    asked = _asked(answer, tokenizer)
    rendered = render((*asked, Message(response, answer.text)), tokenizer)
    last = max(i for i, scored in enumerate(rendered.mask) if scored)
    return rendered.ids[: last + (answer.finished != "length")]


def _plain(answer: Answer, tokenizer: Tokenizer) -> bool:
    """Whether the answer goes on in plain text instead of being a turn of a chat."""
    if answer.messages:
        return answer.messages[0].role == "text"
    return answer.continues or not tokenizer.chat_template


def _asked(answer: Answer, tokenizer: Tokenizer) -> Messages:
    """The turns before the response; where they are unknown, the prompt is one."""
    if answer.messages is not None:
        return answer.messages
    if answer.continues or not answer.prompt:
        return ()
    return (Message("text" if _plain(answer, tokenizer) else "user", answer.prompt),)

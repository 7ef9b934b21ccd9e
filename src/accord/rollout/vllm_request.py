"""What vLLM is asked for and what it answers, in Accord's terms: pure functions, no vLLM needed.

vLLM reads most settings as Accord does; what it would read otherwise is refused with the reason.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.rollout.requests import Completion, Finish, check_finite, shown_text
from accord.text.tokenizer import Tokenizer

_COLDEST, _HOTTEST = 0.01, 2.0
# (what is refused, the key, why, what to do instead)
_REFUSALS: tuple[tuple[Callable[[SamplingConfig], object], str, str, str], ...] = (
    (
        lambda sampling: sampling.no_repeat_ngram_size,
        "no_repeat_ngram_size",
        "vLLM cannot forbid repeated n-grams",
        "set it to 0, or engine to accord",
    ),
    (
        lambda sampling: sampling.min_p and sampling.top_p < 1,
        "min_p",
        "vLLM applies min_p before top_p, Accord after it: together they leave other tokens",
        "use one of the two, or set engine to accord",
    ),
    (
        lambda sampling: sampling.temperature and sampling.temperature < _COLDEST,
        "temperature",
        f"vLLM draws at temperature {_COLDEST} where a smaller one is asked for",
        f"set 0 (greedy), {_COLDEST} or more, or engine to accord",
    ),
    (
        lambda sampling: sampling.temperature > _HOTTEST,
        "temperature",
        f"vLLM draws at temperatures up to {_HOTTEST:g}",
        f"set {_HOTTEST:g} or less, or engine to accord",
    ),
)


def vllm_sampling(
    sampling: SamplingConfig, end_ids: frozenset[int], never: Sequence[int]
) -> dict[str, Any]:
    """The arguments of `vllm.SamplingParams` that all prompts share.

    Args:
        sampling: Accord's settings.
        end_ids: Tokens that end a completion; the folder's own are not asked.
        never: Tokens that are not drawn.

    Raises:
        AccordError: vLLM would draw from another distribution than Accord.
    """
    for refused, key, reason, fix in _REFUSALS:
        if refused(sampling):
            raise AccordError(reason, f"sampling.{key}", fix)
    return {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop),
        "stop_token_ids": sorted(end_ids),
        "ignore_eos": True,
        "logit_bias": dict.fromkeys(never, -math.inf) or None,
        "logprobs": 0,  # of the drawn token alone
        # only stop strings need the text, in the form that `completion` cuts it
        "detokenize": bool(sampling.stop),
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
    }


def completion(
    output: Any,
    tokenizer: Tokenizer,
    end_ids: frozenset[int],
    sampling: SamplingConfig,
    where: str,
) -> Completion:
    """Accord's completion, made of a `vllm.CompletionOutput`.

    Raises:
        AccordError: vLLM gave the request up, or a log-probability is not finite.
    """
    if output.finish_reason not in ("stop", "length"):
        raise AccordError(f"vLLM gave up with '{output.finish_reason}'", where, "see vLLM's log")
    ids = tuple(output.token_ids)
    logps = tuple(step[token].logprob for step, token in zip(output.logprobs, ids, strict=True))
    check_finite(logps, where)
    text, stopped = shown_text(ids, tokenizer, end_ids, sampling)
    ended = ids[-1] in end_ids or stopped or output.finish_reason == "stop"
    finished: Finish = "stop" if ended else "length"
    if ids[-1] == tokenizer.end_id:
        finished = "end"
    return Completion(ids, logps, finished, text)

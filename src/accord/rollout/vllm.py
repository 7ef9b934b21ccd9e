"""vLLM behind the roll-out engine's surface: for GPUs, where its kernels pay.

vLLM runs in this process, so that new weights are handed over without a copy on disk; under ranks
every rank has an engine of its own. It is imported when an engine is made, not before.
"""

import gc
import importlib
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.checkpoint.adapter_folder import is_adapter
from accord.checkpoint.folder import load_config
from accord.checkpoint.names import family_of
from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.rollout.requests import Completion, check_requests, check_weights
from accord.rollout.vllm_request import completion, vllm_sampling
from accord.text.tokenizer import Tokenizer


class VLLMEngine:
    """Generates with a model folder in vLLM; `generate` and `update` are those of `Engine`.

    Args:
        folder: A Hugging Face folder with its tokenizer, as `save_model` writes it.
        tokenizer: The folder's; ends completions at its end token, decodes them.
        stop_ids: Further tokens that end a completion, such as `<|im_end|>`.
        dtype: What the model computes in.
        max_model_len: Longest prompt and completion together, in tokens; none: the model's own.
        options: Further arguments of `vllm.LLM`, such as gpu_memory_utilization and max_num_seqs.
            CUDA graphs are off unless enforce_eager=False is given.

    Raises:
        AccordError: vLLM is not installed, the folder holds no model that Accord reads, or the
            tokenizer has more tokens than the model's embedding has rows.
    """

    def __init__(
        self,
        folder: str | Path,
        tokenizer: Tokenizer,
        stop_ids: Sequence[int] = (),
        dtype: torch.dtype = torch.float32,
        max_model_len: int | None = None,
        **options: Any,
    ) -> None:
        if is_adapter(Path(folder)):
            raise AccordError(
                "vLLM reads whole models, and this folder holds an adapter.",
                str(folder),
                "merge it first: accord merge FOLDER --out MERGED; or set engine to accord",
            )
        config = load_config(folder)
        rows, known = config.vocab_size, len(tokenizer)
        if known > rows:
            raise AccordError(
                f"the tokenizer has {known} tokens, the model's embedding {rows} rows",
                fix="load the tokenizer that was saved with the model",
            )
        self.tokenizer = tokenizer
        self.end_ids = frozenset((tokenizer.end_id, *stop_ids))
        pad = tokenizer.pad_id
        self.forbidden = () if pad is None or pad in self.end_ids else (pad,)
        """Tokens that are never drawn; nor are rows that only pad the embedding."""
        self._padding = range(known, rows)
        positions = config.max_position_embeddings
        self._limit = min(max_model_len or positions, positions)
        self._tied = config.tie_word_embeddings
        self._rules = family_of(config).rules(config)
        skeleton = Decoder.empty(config, torch.float32, "meta")
        self._shapes = {name: weight.shape for name, weight in skeleton.named_parameters()}
        self._vllm = _import_vllm()
        # with ranks, vLLM joins the group that there is and computes on this rank's device
        ranked = int(os.environ.get("WORLD_SIZE", "1")) > 1
        if ranked:
            options = {"distributed_executor_backend": "external_launcher", **options}
        with _environment(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_NO_USAGE_STATS="1"):
            self._llm = self._vllm.LLM(
                **{"enforce_eager": True, "use_tqdm_on_load": False, **options},
                model=str(folder),
                dtype=str(dtype).removeprefix("torch."),
                max_model_len=self._limit,
                # what tokens are drawn at: after penalties, temperature and truncation
                logprobs_mode="processed_logprobs",
                generation_config="vllm",
            )
        if ranked:
            _spare_the_group(self._llm)

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
            seeds: One a prompt; the same seed draws other tokens than `Engine` does.
            batch_size: Not used: vLLM decodes up to its own max_num_seqs rows at a time.

        Raises:
            AccordError: vLLM does not draw as these settings say; a prompt is empty, too long or
                has foreign ids; seeds don't match the prompts or are negative; batch_size is below
                1; a drawn token has no finite log-probability.
        """
        shared = vllm_sampling(sampling, self.end_ids, (*self.forbidden, *self._padding))
        check_requests(prompts, seeds, batch_size, self._limit, len(self.tokenizer))
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        params = [
            self._vllm.SamplingParams(
                **shared,
                max_tokens=min(sampling.max_new_tokens, self._limit - len(prompt)),
                seed=seed % 2**63,  # vLLM's have 64 bits, and -1 means none
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        outputs = self._llm.generate(asked, params, use_tqdm=False) if asked else []
        return [
            completion(output.outputs[0], self.tokenizer, self.end_ids, sampling, f"prompt {i}")
            for i, output in enumerate(outputs)
        ]

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take new weights into the running model, cast to its dtype; cached prompts are forgotten.

        Args:
            weights: Every parameter by Accord's name, whole (not sharded), on any device.

        Raises:
            AccordError: A parameter is unknown, missing or of another shape; none is changed then.
        """
        check_weights(weights, self._shapes)
        theirs = ((rule.theirs, rule.pack(weights)) for rule in self._rules)
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": theirs})
        if self._tied:
            self._llm.apply_model(_pack_head)
        if not self._llm.reset_prefix_cache():
            raise AccordError(
                "vLLM kept prompts that it read with the old weights",
                fix="call update when no other request is running",
            )


def _pack_head(model: Any) -> None:
    """Have a tied head prepared again: vLLM reloads the embedding and not what it made of it.

    On CPUs that is a packed copy, which would keep the old weights.
    """
    head = model.lm_head
    head.quant_method.process_weights_after_loading(head)


def _spare_the_group(llm: Any) -> None:
    """Have vLLM leave torch's process group alone when it is let go: ranks still train in it."""
    client = llm.llm_engine.engine_core
    client._finalizer.detach()
    weakref.finalize(llm, _let_go, client.engine_core).atexit = False


def _let_go(core: Any) -> None:
    """What vLLM's own shutdown does, but for the process group and vLLM's groups inside it."""
    core.model_executor.shutdown()
    core.scheduler.shutdown()
    gc.unfreeze()  # vLLM froze its weights and cache when it started


def _import_vllm() -> Any:
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise AccordError(
            f"engine: vllm needs vLLM, which cannot be imported ({error})",
            "rollout.engine",
            "pip install 'accord[vllm]' in an environment of its own, or set engine to accord",
        ) from error


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables that vLLM reads while an engine is built, put back afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

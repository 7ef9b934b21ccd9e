"""What PPO, the GRPO family and online preference share: opening, training, leaving."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from accord.checkpoint.folder import load_model, model_fingerprint
from accord.config.rl import RLStage
from accord.config.stages import PromptsConfig
from accord.data.account import Account
from accord.data.order import Order
from accord.errors import AccordError
from accord.evaluation.likelihood import Policy
from accord.evaluation.protocol import fixed_prompts
from accord.evaluation.samples import Prompt
from accord.model.decoder import Decoder
from accord.rewards.model import ModelReward
from accord.rewards.total import Rewards, rewards_of
from accord.rollout.engine import Engine
from accord.stages.collector import Algorithm, RolloutCollector
from accord.stages.context import StageContext
from accord.stages.drawing import Drawing, check_drawing
from accord.stages.models import check_length, open_model, write_model
from accord.stages.records import stage_rows, write_record
from accord.stages.rollouts import Asked, Measure, Rollouts
from accord.stages.sources import steps_of
from accord.stages.steps import Step
from accord.stages.training import watch_of
from accord.text.chat import stop_ids
from accord.text.tokenizer import Tokenizer
from accord.train import Trainer, current_ranks
from accord.train.precision import DTYPES


@dataclass(frozen=True)
class OpenPolicy:
    """A policy ready to be trained on its own completions.

    Args:
        config: The stage's settings.
        context: The stage's folder, inputs and seed.
        folder: The starting model's.
        model: The policy, in float32.
        reference: The starting model, frozen, in the stage's precision.
        tokenizer: Of both.
        prompts: Every prompt that may be asked.
        drawing: How completions are drawn.
        account: What became of every row.
    """

    config: RLStage
    context: StageContext
    folder: Path
    model: Decoder
    reference: Decoder
    tokenizer: Tokenizer
    prompts: Sequence[Prompt]
    drawing: Drawing
    account: Account


def open_policy(config: RLStage, context: StageContext) -> OpenPolicy:
    """Load the starting model twice, as policy and as reference, and read the prompts.

    Raises:
        AccordError: Settings that the update cannot score; no prompt leaves room for an answer.
    """
    where, account = f"stages.{context.name}", Account()
    check_drawing(config.rollout.sampling, where)
    kind = "chat" if config.rollout.first_words else "prompt"
    rows = stage_rows(config, kind, context, account).train
    folder = context.input(config.from_)
    model, tokenizer = open_model(folder)
    check_length(model.config, config.max_length, where)
    if config.chat_template is not None:
        tokenizer = tokenizer.with_chat_template(config.chat_template)
    wanted = PromptsConfig(
        data=config.data, first_words=config.rollout.first_words, count=len(rows)
    )
    found = fixed_prompts(wanted, rows, Policy(config.from_, model, tokenizer))
    room = config.max_length - config.rollout.sampling.max_new_tokens
    prompts = [prompt for prompt in found if len(prompt.ids) <= room]
    # equal prompts of several sources are one, so that all are noted with the first source
    counts = {
        "prompts (of all sources)": len(prompts),
        f"prompts longer than {room} tokens, left out": len(found) - len(prompts),
        "rows without a prompt of their own (too short, or the same)": len(rows) - len(found),
    }
    for what, count in counts.items():
        if count:
            account.noted(rows[0].source, what, count)
    if not prompts:
        raise AccordError(
            f"No prompt leaves room for {config.rollout.sampling.max_new_tokens} new tokens "
            f"within {config.max_length}.",
            f"{where}.max_length",
            "raise it, or lower rollout.sampling.max_new_tokens",
        )
    device = current_ranks().device
    reference = load_model(folder, DTYPES[config.precision], device).eval()
    drawing = Drawing(config.rollout.sampling, len(tokenizer), _never_drawn(tokenizer))
    return OpenPolicy(
        config, context, folder, model, reference, tokenizer, prompts, drawing, account
    )


def train_policy(
    policy: OpenPolicy,
    model: nn.Module,
    algorithm: Algorithm,
    step: Step,
    measure: Measure | None = None,
) -> Trainer:
    """Train `model`, which is the policy or holds it, on roll-outs; returns the finished trainer.

    Args:
        policy: What was opened.
        model: What is trained.
        algorithm: Makes rows of roll-outs.
        step: Model and rows to the objective's sum.
        measure: The critic's values, if there is a critic.
    """
    config, context, rollout = policy.config, policy.context, policy.config.rollout
    prompts, seed = len(policy.prompts), context.seed
    asked = Asked(
        policy.prompts,
        Order(prompts, config.batch_size * rollout.batches, seed),
        config.num_generations,
        rollout.slots,
        seed,
        config.missing_end_penalty or 0.0,
        algorithm.rescores,
        algorithm.needs_reference,
    )
    rollouts = Rollouts(
        model,
        partial(_engine, policy),
        policy.reference,
        policy.drawing,
        asked,
        _rewards(policy, config.reward),
        _rewards(policy, config.judges) if config.judges else None,
        current_ranks(),
        DTYPES[config.precision],
        measure,
    )
    order = Order(prompts, config.batch_size, seed)
    steps = config.steps or steps_of(config, order) * rollout.iterations
    source = RolloutCollector(rollouts, algorithm, steps, rollout.batches, rollout.iterations, seed)
    mark = f"{model_fingerprint(policy.folder)} {policy.tokenizer.fingerprint}"
    trainer = Trainer(
        model,
        step,
        source,
        config,
        context.folder,
        console=context.console,
        unit="prompts",
        steps_per_epoch=rollout.iterations * prompts / config.batch_size,
        fingerprint=mark,
        watch=watch_of(config, context),
    )
    trainer.fit()
    return trainer


def leave_policy(
    policy: OpenPolicy,
    trainer: Trainer,
    also: Callable[[Mapping[str, Tensor]], None] = lambda weights: None,
) -> None:
    """Write the policy as a Hugging Face folder; `also` gets all trained weights first."""

    def save(weights: dict[str, Tensor]) -> None:
        also(weights)
        held = any(name.startswith("policy.") for name in weights)
        own = {n.removeprefix("policy."): w for n, w in weights.items() if n.startswith("policy.")}
        write_record(policy.context.folder, "rows.json", policy.account.to_json())
        write_model(
            own if held else weights,
            policy.model.config,
            policy.tokenizer,
            policy.context.folder,
        )

    trainer.write(save)


def _rewards(policy: OpenPolicy, terms: Sequence[Any]) -> Rewards:
    device, dtype = current_ranks().device, DTYPES[policy.config.precision]

    def load(name: str) -> ModelReward:
        return ModelReward(policy.context.input(name), policy.tokenizer, device, dtype)

    return rewards_of(terms, load)


def _engine(policy: OpenPolicy, model: Decoder) -> Any:
    stops = sorted(stop_ids(policy.tokenizer))
    rollout = policy.config.rollout
    if rollout.engine == "vllm":
        from accord.rollout.vllm import VLLMEngine  # noqa: PLC0415  (an extra)

        return VLLMEngine(
            policy.folder,
            policy.tokenizer,
            stops,
            DTYPES[policy.config.precision],
            policy.config.max_length,
            max_num_seqs=rollout.slots,
            enforce_eager=not rollout.compile,
            gpu_memory_utilization=rollout.vllm_memory,
        )
    return Engine(model, policy.tokenizer, stops)


def _never_drawn(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids that an engine never draws."""
    ends = {tokenizer.end_id, *stop_ids(tokenizer)}
    pad = tokenizer.pad_id
    return () if pad is None or pad in ends else (pad,)

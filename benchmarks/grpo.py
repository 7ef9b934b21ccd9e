"""One step of GRPO: TRL's GRPOTrainer, a plain loop, Accord's stage parts in its Trainer.

A step takes 8 prompts of 64 tokens, draws 8 completions of exactly 64 tokens for each (there is no
token that ends one), rewards them, and makes one optimiser step, whose weights draw the next ones.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import work
from generation import EndlessTokenizer
from harness import Contender, Gate, Row
from preference import word_tokenizer
from pretraining import GatedSource, settings

BATCHES, PROMPTS, COMPLETIONS, NEW, LR = 4, 8, 8, 64, 1e-6
PASS = 8
"""Completions that TRL updates on at a time: its default."""


def prompts() -> list[list[list[int]]]:
    """Batches of 8 prompts of 64 tokens."""
    return work.token_batches(BATCHES, PROMPTS, work.PROMPT)


def mean_id(ids: Sequence[int]) -> float:
    """What a completion is worth: the mean of its ids, as a share of the vocabulary."""
    assert len(ids) == NEW, f"{len(ids)} tokens instead of {NEW}"
    return sum(ids) / (len(ids) * work.VOCABULARY)


def worth(answer: Any) -> float:
    """The same as a reward function of Accord's recipes."""
    return mean_id(answer.ids)


def trl(gate: Gate, folder: str, dtype: str = "float32", **chosen: Any) -> None:
    """GRPOTrainer itself: its generation, its loop, its metrics; nothing is saved or reported."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    disable_progress_bars()

    class AtGate(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            gate.step()

        def on_pre_optimizer_step(self, _: Any, state: Any, *__: Any, **given: Any) -> None:
            if state.global_step == 0:
                gradients = [p.grad for p in given["model"].parameters() if p.grad is not None]
                norm = torch.nn.utils.get_total_norm(gradients)
                gate.note("first_grad_norm", norm.item())

    def rewards(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [mean_id(ids) for ids in completion_ids]

    # the end token stands past the model's vocabulary, so that none is ever drawn
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<never>"})
    assert tokenizer.eos_token_id == work.VOCABULARY
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.generation_config.eos_token_id = None
    rows = [" ".join(map(str, ids)) for batch in prompts() for ids in batch]
    with tempfile.TemporaryDirectory() as kept:
        config = GRPOConfig(
            output_dir=kept,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            max_steps=GatedSource.steps,
            num_generations=COMPLETIONS,
            gradient_accumulation_steps=PROMPTS * COMPLETIONS // PASS,
            per_device_train_batch_size=PASS,
            max_completion_length=NEW,
            learning_rate=LR,
            **chosen,
        )
        trainer = GRPOTrainer(
            model,
            rewards,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": rows}),
            processing_class=tokenizer,
            callbacks=[AtGate()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def plain(gate: Gate, folder: str) -> None:
    """Draw with transformers' cache, advantages, log_softmax, one step of AdamW."""
    import torch
    from transformers import AutoModelForCausalLM

    from plain import drawn, group_advantages, policy_loss

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    for batch in cycle(prompts()):
        gate.step()
        asked = torch.tensor(batch).repeat_interleave(COMPLETIONS, 0)
        ids = drawn(model, asked, NEW)
        rewards = torch.tensor([mean_id(row) for row in ids[:, work.PROMPT :].tolist()])
        loss = policy_loss(model, ids, group_advantages(rewards, COMPLETIONS), NEW)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        gate.note("first_loss", loss.item())
        gate.note("first_grad_norm", norm.item())


def accord(gate: Gate, folder: str, precision: str) -> None:
    """The GRPO stage's roll-outs, advantages and step, in the real Trainer."""
    from rich.console import Console

    from accord.checkpoint.folder import load_model
    from accord.stages.drawing import Drawing
    from accord.stages.policy_steps import grpo_step
    from accord.train import Trainer

    config = stage(folder, precision)
    drawing = Drawing(config.rollout.sampling, work.VOCABULARY)
    model = load_model(folder)
    with tempfile.TemporaryDirectory() as kept:
        source = AtGate(gate, collector(config, drawing, model), Path(kept))
        Trainer(
            model,
            grpo_step(config, drawing),
            source,
            config,
            Path(kept),
            console=Console(quiet=True),
            unit="prompts",
        ).fit()


def stage(folder: str, precision: str) -> Any:
    """What a recipe would say; beta stays at its default of 0."""
    from accord.config.rl import GRPOStage

    return GRPOStage(
        **{"from": folder},
        reward=({"function": "python:grpo:worth"},),
        num_generations=COMPLETIONS,
        rollout={"sampling": {"max_new_tokens": NEW}, "slots": PROMPTS * COMPLETIONS},
        lr=LR,
        **settings(precision, False, PROMPTS),
    )


def collector(config: Any, drawing: Any, model: Any) -> Any:
    """Roll-outs as `stages.online_policy.train_policy` makes them."""
    from accord.checkpoint.folder import load_model
    from accord.data.order import Order
    from accord.evaluation.samples import Prompt
    from accord.rewards.total import rewards_of
    from accord.rollout.engine import Engine
    from accord.stages.collector import RolloutCollector
    from accord.stages.grpo import GroupRelative
    from accord.stages.rollouts import Asked, Rollouts
    from accord.train import current_ranks
    from accord.train.precision import DTYPES

    asked = [tuple(ids) for batch in prompts() for ids in batch]
    chosen = [Prompt(str(i), str(i), ids, continues=True) for i, ids in enumerate(asked)]
    dtype, rollout, seed = DTYPES[config.precision], config.rollout, 0
    algorithm = GroupRelative(config)
    rollouts = Rollouts(
        model,
        lambda policy: Engine(policy, EndlessTokenizer()),  # type: ignore[arg-type]
        load_model(config.from_, dtype).eval(),
        drawing,
        Asked(
            chosen,
            Order(len(chosen), config.batch_size, seed),
            config.num_generations,
            rollout.slots,
            seed,
            0.0,
            algorithm.rescores,
            algorithm.needs_reference,
        ),
        rewards_of(config.reward, load_model),
        None,
        current_ranks(),
        dtype,
    )
    steps = GatedSource.steps
    return RolloutCollector(rollouts, algorithm, steps, rollout.batches, rollout.iterations, seed)


class AtGate:
    """A `train.Collector` whose step begins when the loop wants its roll-out."""

    def __init__(self, gate: Gate, source: Any, folder: Path) -> None:
        self.steps, self.rows, self.collate = source.steps, source.rows, source.collate
        self.observe, self.state, self.load = source.observe, source.state, source.load
        self._gate, self._source = gate, source
        self._log = folder / "accord" / "metrics.jsonl"

    def fill(self, step: int, weights: Any) -> Mapping[str, tuple[float, float]]:
        """The stage's own roll-out, once the gate opens."""
        if step == 1:
            first, _, _ = self._log.read_text().partition("\n")
            for note, name in (("first_loss", "loss"), ("first_grad_norm", "grad_norm")):
                self._gate.note(note, json.loads(first)[name])
        self._gate.step()
        return self._source.fill(step, weights)


REMARKS = (
    "Rewards are the mean id of a completion; nothing ends a completion early; every roll-out is "
    "used for one optimiser step, at beta 0.",
    "TRL scores no reference at beta 0 and takes the update's own log-probabilities for those of "
    "the roll-out. So does Accord's stage, which also scores a quarter of the completions under "
    "the reference, for the KL in its log.",
    "TRL default is bf16 autocast over fp32 weights with gradient checkpointing, 8 completions a "
    "pass. Tuned: no checkpointing and a static cache; bf16: weights and optimiser in bf16 too. "
    "16, 32 or 64 completions a pass saved no time and took more memory.",
)


def row(folder: Path, quick: bool) -> Row:
    """The study model, 8 prompts, 64 completions a step."""
    here = {"folder": work.write_model(folder / "study", work.STUDY)}
    tuned = {"gradient_checkpointing": False, "bf16": False, "cache_implementation": "static"}
    size = PROMPTS * COMPLETIONS
    return Row(
        "grpo",
        f"GRPO step, 1.5 M study model, 8 prompts of 64 x 8 completions of {NEW}",
        "completions",
        [
            Contender("TRL default", trl, size, here),
            Contender("TRL tuned fp32", trl, size, {**here, **tuned}),
            Contender("TRL tuned bf16", trl, size, {**here, **tuned, "dtype": "bfloat16"}),
            Contender("plain loop fp32", plain, size, here),
            Contender("accord fp32", accord, size, {**here, "precision": "fp32"}),
            Contender("accord bf16", accord, size, {**here, "precision": "bf16"}),
        ],
        steps=1 if quick else 2,
        rounds=2 if quick else 5,
        targets=[("accord bf16", "TRL default", 15.0)],
        remarks=REMARKS,
    )

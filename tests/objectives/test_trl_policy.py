"""TRL's own loss code of GRPO and of reward models gives the same loss, gradient and metrics.

`GRPOTrainer._compute_loss` and `RewardTrainer.compute_loss` run on a stand-in for the trainer
that holds the settings they read; log-probabilities and scores are leaves.
"""

from collections import defaultdict
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.advantages import group_advantages
from accord.objectives.logprobs import token_logps
from accord.objectives.policy import PolicySettings, policy_loss
from accord.objectives.reward import bradley_terry

from .test_trl import tiny_model, word_tokenizer

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore"),  # the peer's own warnings are not ours to mend
]

F64 = torch.float64
LENGTHS = [4, 0, 7, 2]  # a completion that was masked among them
LONGEST, MOST = 7, 11
MASK = (torch.arange(LONGEST)[None] < torch.tensor(LENGTHS)[:, None]).to(F64)


def accelerator() -> Any:
    return SimpleNamespace(
        num_processes=1,
        parallelism_config=None,
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        reduce=lambda x, reduction: x,
    )


def stand_in(chosen: PolicySettings, logps_BT: Tensor) -> Any:
    entropies = torch.zeros_like(logps_BT)
    high = chosen.epsilon if chosen.epsilon_high is None else chosen.epsilon_high
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logps_BT, entropies, None),
        top_entropy_quantile=1.0,
        aux_loss_enabled=False,
        off_policy_mask_threshold=None,
        importance_sampling_level=chosen.importance,
        loss_type=chosen.loss_type,
        beta=chosen.beta,
        epsilon_low=chosen.epsilon,
        # TRL's epsilon_high is the cap itself for cispo and what exceeds 1 for the others.
        epsilon_high=1 + high if chosen.loss_type == "cispo" else high,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        max_completion_length=chosen.max_length,
        accelerator=accelerator(),
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )


def grid_case() -> tuple[Tensor, ...]:
    """Log-probabilities, old ones, the reference's [B, T], and an advantage a completion."""
    generator = torch.Generator().manual_seed(0)
    logps = -3 * torch.rand(4, LONGEST, generator=generator, dtype=F64)
    old, ref = logps + 0.3 * torch.randn(2, 4, LONGEST, generator=generator, dtype=F64)
    rewards = torch.randn(2, 2, generator=generator, dtype=F64)
    return logps.requires_grad_(), old, ref, group_advantages(rewards)[0].flatten()


@pytest.mark.parametrize(
    "chosen",
    [
        PolicySettings(name, level, 0.2, high, beta, "k3", MOST)
        for name, level, high, beta in product(
            ["grpo", "dapo", "dr_grpo", "bnpo", "cispo"],
            ["token", "sequence"],
            [None, 0.28],
            [0.0, 0.04],
        )
    ],
    ids=str,
)
def test_loss_gradient_and_metrics_agree_with_trl(chosen: PolicySettings) -> None:
    from trl import GRPOTrainer

    logps, old, ref, advantages = grid_case()
    trainer = stand_in(chosen, logps)
    inputs = {
        "prompt_ids": torch.zeros(4, 1, dtype=torch.int64),
        "prompt_mask": torch.ones(4, 1, dtype=torch.int64),
        "completion_ids": torch.zeros(4, LONGEST, dtype=torch.int64),
        "completion_mask": MASK,
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": ref,
        "num_items_in_batch": MASK.sum(),
    }
    theirs = GRPOTrainer._compute_loss(trainer, None, inputs)
    (expected,) = torch.autograd.grad(theirs, logps)

    row, column = MASK.nonzero(as_tuple=True)
    loss = policy_loss(
        logps[row, column],
        old[row, column],
        advantages[row],
        row,
        4,
        chosen,
        ref[row, column] if chosen.beta else None,
    )
    mean = loss.total / loss.weight
    (found,) = torch.autograd.grad(mean, logps)
    assert mean.item() == pytest.approx(theirs.item(), abs=1e-10)
    assert abs(theirs.item()) > 1e-4
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)

    logged = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    shared = loss.metrics.keys() & logged.keys()
    clips = {"clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"}
    clips = {"cispo_clip_ratio"} if chosen.loss_type == "cispo" else clips
    assert shared == clips | ({"kl"} if chosen.beta else set())
    for name in shared:
        total, by = loss.metrics[name]
        assert (total / by).item() == pytest.approx(logged[name], abs=1e-6), name


def letters(completions: list[str], **kwargs: Any) -> list[float]:
    """A reward that some completions of a group share."""
    return [float(text.count("a") + 0.3 * text.count("b")) for text in completions]


def grpo_trainer(folder: Path, loss_type: str, scale: str) -> Any:
    """A GRPOTrainer whose reference differs from its policy: two prompts of four completions."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=MOST,
        loss_type=loss_type,
        scale_rewards=scale,
        beta=0.1,
        # Its default also weighs the KL by the ratio, which is not the papers' loss.
        use_bias_correction_kl=False,
        seed=3,
    )
    policy = tiny_model(1)
    # TRL reads the reference from where the policy says it comes from.
    tiny_model(2).save_pretrained(folder / "reference")
    policy.config._name_or_path = str(folder / "reference")
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=letters,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["a b c", "d e"]}),
        processing_class=word_tokenizer(),
    )
    trainer.ref_model.double().load_state_dict(tiny_model(2).state_dict())
    return trainer


@pytest.mark.parametrize(
    ("loss_type", "scale"), [("grpo", "group"), ("dapo", "batch"), ("dr_grpo", "none")]
)
def test_the_whole_step_agrees_with_the_real_trainer(
    tmp_path: Path, loss_type: str, scale: Any
) -> None:
    """TRL samples, scores and takes the loss; from its tokens and rewards we get the same."""
    trainer = grpo_trainer(tmp_path, loss_type, scale)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [{"prompt": prompt} for prompt in ["a b c"] * 4 + ["d e"] * 4]
    batch = trainer._generate_and_score_completions(rows)
    # Of 19 words none is the end often enough: these lengths tell the aggregations apart.
    lengths = torch.tensor([11, 3, 7, 1, 9, 2, 5, 4])
    batch["completion_mask"] = (torch.arange(MOST)[None] < lengths[:, None]).long()
    batch["num_items_in_batch"] = lengths.sum()
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()

    rewards = torch.tensor(trainer._logs["rewards"]["letters"], dtype=F64).view(2, 4)
    assert rewards.std(1).min().item() > 0
    advantages, figures = group_advantages(rewards, scale)
    assert figures.zero_spread == trainer._metrics["train"]["frac_reward_zero_std"][-1]
    torch.testing.assert_close(
        advantages.flatten(), batch["advantages"].double(), atol=1e-5, rtol=1e-5
    )
    policy, reference = tiny_model(1), tiny_model(2)
    row, column = batch["completion_mask"].nonzero(as_tuple=True)
    target = batch["completion_ids"][row, column]
    start = batch["prompt_ids"].shape[1] - 1

    def logps_of(model: Any) -> Tensor:
        hidden = model.model(
            input_ids=torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            attention_mask=torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
        ).last_hidden_state
        return token_logps(hidden[row, start + column], model.lm_head.weight, target, chunk=5)[0]

    logps, ref = logps_of(policy), logps_of(reference).detach()
    chosen = PolicySettings(loss_type, beta=0.1, max_length=MOST)
    loss = policy_loss(logps, logps.detach(), advantages.flatten()[row], row, 8, chosen, ref)
    mean = loss.total / loss.weight
    mean.backward()
    assert mean.item() == pytest.approx(theirs.item(), abs=1e-6)
    expected = {name: p.grad for name, p in trainer.model.named_parameters()}
    assert max(grad.abs().max().item() for grad in expected.values()) > 1e-3
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=2e-6, rtol=1e-5)
    total, by = loss.metrics["kl"]
    assert (total / by).item() == pytest.approx(trainer._metrics["train"]["kl"][-1], abs=1e-5)


@pytest.mark.parametrize("with_margin", [False, True])
@pytest.mark.parametrize("centering", [None, 0.01])
def test_bradley_terry_agrees_with_trl(with_margin: bool, centering: float | None) -> None:
    from trl import RewardTrainer

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(10, 1, generator=generator, dtype=F64).requires_grad_()
    margin = torch.rand(5, generator=generator, dtype=F64)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(center_rewards_coefficient=centering),
        accelerator=accelerator(),
        _total_train_tokens=0,
        _tp_size=1,
        _metrics={"train": defaultdict(list)},
    )
    inputs = {"attention_mask": torch.ones(10, 3), **({"margin": margin} if with_margin else {})}
    theirs = RewardTrainer.compute_loss(
        trainer,  # type: ignore[arg-type]
        lambda **kwargs: SimpleNamespace(logits=scores),
        inputs,
    )
    expected = torch.autograd.grad(theirs, scores)
    loss = bradley_terry(
        scores[:5, 0], scores[5:, 0], margin if with_margin else None, centering or 0.0
    )
    mean = loss.total / loss.weight
    assert mean.item() == pytest.approx(theirs.item(), abs=1e-10)
    torch.testing.assert_close(torch.autograd.grad(mean, scores), expected)
    logged = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    for name in ("accuracy", "margin", "min_reward", "mean_reward", "max_reward"):
        total, by = loss.metrics[name]
        assert (total / by).item() == pytest.approx(logged[name], abs=1e-6), name

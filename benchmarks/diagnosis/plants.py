"""Broken code, put in place for one run: what no setting can express. Nothing of it is in `src`.

Each is a context manager that replaces a function or a method of Accord, in this process alone, and
puts it back.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from accord.data.packing import Response
from accord.stages import online_policy, policy_steps, preference, rollouts, sft
from accord.train.loop import Trainer
from accord.train.microbatch import Runner
from accord.train.precision import Weights

LOOKED_AT = "run"


def _patched(target: Any, name: str, new: Any) -> Any:
    return mock.patch.object(target, name, new)


@contextmanager
def reference_of_another_stage() -> Iterator[None]:
    """The reference is the base model, not the model that training starts from."""
    load = preference.load_model

    def base(folder: Any, *rest: Any) -> Any:
        return load(folder.parent / "base", *rest)

    with _patched(preference, "load_model", base), _patched(online_policy, "load_model", base):
        yield


@contextmanager
def reference_in_training_mode() -> Iterator[None]:
    """The reference drops out a tenth of its hidden states, as one in training mode would."""
    load = preference.load_model

    def noisy(folder: Any, *rest: Any) -> Any:
        model = load(folder, *rest)
        for layer in model.layers:
            layer.register_forward_hook(_dropped)
        return model

    with _patched(preference, "load_model", noisy), _patched(online_policy, "load_model", noisy):
        yield


def _dropped(_: Any, __: Any, output: Tensor) -> Tensor:
    return torch.nn.functional.dropout(output, 0.1, training=True)


@contextmanager
def no_master_weights() -> Iterator[None]:
    """Masters are rounded to bfloat16 after each step, as in a run that keeps only such weights."""
    publish = Weights.publish

    @torch.no_grad()
    def rounded(self: Weights) -> None:
        for master in self.masters.values():
            master.copy_(master.bfloat16().float())
        publish(self)

    with _patched(Weights, "publish", rounded):
        yield


@contextmanager
def entropy_punished() -> Iterator[None]:
    """PPO's entropy bonus with the wrong sign."""
    step = policy_steps.ppo_step

    def turned(config: Any, drawing: Any) -> Any:
        return step(config.model_copy(update={"entropy_coef": -1.0}), drawing)

    from accord.stages import ppo

    with _patched(ppo, "ppo_step", turned):
        yield


@contextmanager
def sampled_at_another_temperature() -> Iterator[None]:
    """The engine draws at a temperature of 1.5 what the update scores at 1."""
    engine = online_policy._engine

    def hotter(policy: Any, model: Any) -> Any:
        made = engine(policy, model)
        generate = made.generate

        def drawn(prompts: Any, sampling: Any, *rest: Any) -> Any:
            return generate(prompts, sampling.model_copy(update={"temperature": 1.5}), *rest)

        made.generate = drawn
        return made

    with _patched(online_policy, "_engine", hotter):
        yield


@contextmanager
def stale_weights() -> Iterator[None]:
    """Roll-outs are drawn by the model that training started from, for good."""
    with _patched(rollouts.Rollouts, "update", lambda self, weights: None):
        yield


def responses_without_end() -> Any:
    """SFT's responses go on where they should end, as where documents were run together."""
    make = sft.chat_example

    def cut(*given: Any) -> Any:
        example = make(*given)
        return replace(example, responses=tuple(_open(r) for r in example.responses))

    return _patched(sft, "chat_example", cut)


def _open(response: Response) -> Response:
    scored = [i for i, on in enumerate(response.mask) if on]
    ids = list(response.ids)
    ids[scored[-1]] = ids[scored[0]]
    return Response(tuple(ids[: scored[-1] + 1]), response.mask[: scored[-1] + 1])


def corrupted_batch(at: int) -> Callable[[], Any]:
    """One step whose targets are drawn at random, as where a shard of data is damaged."""

    def spoil(batch: Any) -> Any:
        draw = torch.Generator().manual_seed(at)
        top = int(batch.target_S.max())
        return replace(batch, target_S=torch.randint(0, top, batch.target_S.shape, generator=draw))

    return lambda: _at_steps((at,), spoil)


def overflowed(at: Sequence[int]) -> Callable[[], Any]:
    """Steps whose loss overflows to infinity, as in half precision."""

    @contextmanager
    def plant() -> Iterator[None]:
        run = Runner.run

        def broken(self: Runner, source: Any, step: int, *rest: Any, **more: Any) -> Any:
            sums, seen = run(self, source, step, *rest, **more)
            if step + 1 in at:
                sums.add("loss", torch.tensor(float("inf")), 0.0)
            return sums, seen

        with _patched(Runner, "run", broken):
            yield

    return plant


@contextmanager
def _at_steps(at: Sequence[int], spoil: Callable[[Any], Any]) -> Iterator[None]:
    """Batches of these steps changed before they are learned from."""
    train = Trainer._train

    def broken(self: Trainer, stop: Any) -> Any:
        source = self._source
        if self._cursor.step + 1 not in at or self._folder.name != LOOKED_AT:
            return train(self, stop)
        collate = source.collate
        with _patched(type(source), "collate", lambda _, rows: spoil(collate(rows))):
            return train(self, stop)

    with _patched(Trainer, "_train", broken):
        yield

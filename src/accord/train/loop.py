"""The only training loop.

A step: rows are split over ranks and micro-batches, each micro-batch's loss *sum* is
backpropagated, gradients and weights are summed, and gradients are divided once, by the global
weight. So accumulation, padding and ranks change nothing. A step whose loss or gradient is not
finite is skipped by all ranks alike, and so is a spike where that is asked for. Everything that the
next step depends on is in the checkpoint, and the rows of a step are a pure function of its number:
a resumed run ends in the same bytes.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor, nn

from accord.config.train import TrainConfig
from accord.train.blocks import block_matrices, find_blocks, wrapped
from accord.train.checkpoints import Checkpoints
from accord.train.due import due
from accord.train.interrupt import Interrupted, stop_request
from accord.train.memory import keep_freed_memory
from accord.train.metrics import (
    RunLog,
    Sums,
    Window,
    peak_memory_bytes,
    read_log,
)
from accord.train.microbatch import (
    Collector,
    Runner,
    Source,
    Step,
    StepModule,
)
from accord.train.optim import Optimizer
from accord.train.parallel import current_ranks
from accord.train.precision import DTYPES, Weights
from accord.train.result import TrainResult, Unit
from accord.train.resume import Cursor, run_identity
from accord.train.routing import RouterLosses
from accord.train.schedule import factor
from accord.train.shows import Show, Watcher, open_shows, watching
from accord.train.skipping import skip
from accord.train.spikes import leave_out, spiked


class Trainer:
    """Trains a model; one `fit` a trainer.

    From here on the model belongs to the trainer: its parameters may change dtype or be sharded.
    After `fit` without ranks it holds the trained float32 weights again.

    Args:
        model: In float32. Its blocks are the ModuleList named `layers`.
        step: Model and batch to the objective's sum.
        source: Rows of each optimiser step; `source.steps` is the length of the run. A `Collector`
            makes them from the trained weights.
        config: Optimiser, schedule, precision, batches, checkpoints.
        folder: The stage's folder: `accord/metrics.jsonl` and `accord/checkpoints` go there.
        evaluate: A source of held-out batches, or none.
        console: Where progress is shown; none: standard error.
        unit: What the rows are; other than tokens, their rate is logged too.
        steps_per_epoch: For the `epoch` in the log; none: from config.epochs, if that is set.
        fingerprint: Of whatever else the run depends on (data, starting model): a checkpoint of
            another is refused.
        watch: Gets the log's lines on the first rank; what it says is printed as warnings.

    Raises:
        AccordError: batch_size is not a multiple of the ranks; a tracker is not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        step: Step,
        source: Source,
        config: TrainConfig,
        folder: Path,
        evaluate: Source | None = None,
        console: Console | None = None,
        *,
        unit: Unit = "tokens",
        steps_per_epoch: float | None = None,
        fingerprint: str = "",
        watch: Watcher | None = None,
    ) -> None:
        self._source, self._evaluate, self._config = source, evaluate, config
        self._collector = source if isinstance(source, Collector) else None
        self._folder, self._unit, self._watch = folder, unit, watch
        self._ranks = ranks = current_ranks()
        keep_freed_memory()
        shown = console or Console(stderr=True)
        self._console = shown if ranks.rank == 0 else Console(quiet=True)
        dtype = DTYPES[config.precision]
        model.to(ranks.device).train()
        matrices = block_matrices(model)
        self._blocks = list(find_blocks(model).values())
        self._routers = RouterLosses.of(model, config, ranks)
        root = StepModule(model, step, self._routers)
        ranks.shard(root, self._blocks, dtype)
        self._weights = Weights(model, dtype, ranks)
        self._optimizer = Optimizer(self._weights, config, matrices, ranks)
        self._runner = Runner(root, ranks, config, self._routers)
        self._steps_per_epoch = steps_per_epoch or (
            source.steps / config.epochs if config.epochs else None
        )
        self._log = RunLog(folder / "accord" / "metrics.jsonl")
        self._checkpoints = Checkpoints(
            folder / "accord" / "checkpoints",
            config,
            run_identity(config, source.steps, fingerprint),
            self._weights,
            self._optimizer,
            self._collector,
            self._log,
            ranks,
            self._warn,
        )
        self._cursor, self._window = Cursor(), Window()

    def fit(self) -> TrainResult:
        """Train to the end, from the newest good checkpoint if there is one.

        Raises:
            AccordError: Five steps in a row were not finite; a checkpoint is of another run; the
                disk is full.
            Interrupted: SIGTERM or Ctrl-C; a checkpoint of the last finished step is saved.
        """
        began = time.monotonic()
        self._cursor = cursor = self._checkpoints.restore() or Cursor()
        resumed, steps = cursor.step or None, self._source.steps
        with ExitStack() as stack:
            stack.callback(self._checkpoints.join)
            stop = stack.enter_context(stop_request())
            stack.enter_context(wrapped(self._blocks, self._config, self._warn))
            shows = self._open_shows(stack) if self._ranks.rank == 0 else []
            while cursor.step < steps:
                stopped = self._take_step(lambda: stop.asked, shows)
                # after the last step too: what comes next may take hours
                if stopped:
                    raise Interrupted(self._folder, cursor.step)
        self._weights.release()
        lines = self._ranks.on_first(lambda: read_log(self._log.path))
        took = time.monotonic() - began
        return TrainResult(
            steps, cursor.num_tokens, cursor.skipped, resumed, took, lines[-1] if lines else {}
        )

    def export_state(self) -> dict[str, Tensor]:
        """The trained weights by the model's parameter names, whole, float32, on the CPU.

        All ranks must call it; rank 0 gets the weights, the others an empty mapping.
        """
        full = self._weights.full()
        return {n: t.detach().cpu() for n, t in full.items()} if self._ranks.rank == 0 else {}

    def write(self, save: Callable[[dict[str, Tensor]], None]) -> None:
        """Call `save` with the trained weights on rank 0 alone, while the others wait."""
        state = self.export_state()
        self._ranks.on_first(lambda: save(state))

    def _open_shows(self, stack: ExitStack) -> list[Show]:
        steps = self._cursor.step, self._source.steps
        shows = open_shows(stack, self._console, self._folder, steps, self._config.trackers)
        if self._watch is not None:
            shows.append(watching(self._watch, self._log, self._warn))
        return shows

    def _take_step(self, stop: Callable[[], bool], shows: Sequence[Show]) -> bool:
        """One step with what follows it (evaluation, log, checkpoint); true if asked to stop."""
        cursor, total = self._cursor, self._source.steps
        began = time.monotonic()
        stopped, left_out = self._train(stop)
        self._window.seconds += time.monotonic() - began
        calls = due(cursor.step, total, self._config)
        evaluates = calls.evaluates and self._evaluate is not None
        line: dict[str, Any] = {}
        if calls.logs or evaluates or stopped or left_out:
            line = self._line(left_out) | (self._evaluation() if evaluates else {})
            if self._ranks.rank == 0:
                self._log.append(line)
        if calls.saves or stopped:
            self._checkpoints.save(cursor)
        if cursor.step == total or stopped:
            self._checkpoints.wait()
        for show in shows:
            show(cursor.step, line)
        return stopped

    def _train(self, stop: Callable[[], bool]) -> tuple[bool, dict[str, list[str]]]:
        """Gradients, then an optimiser step; the wish to stop, and a skipped step's rows."""
        cursor, config = self._cursor, self._config
        if self._collector is not None:
            self._window.add(self._collector.fill(cursor.step, self._weights.full))
        sums, seen = self._runner.run(self._source, cursor.step, self._backward)
        pairs, norm_squared, stopped = self._agree(sums, stop)
        total, weight = pairs["loss"]
        norm = math.sqrt(norm_squared) / weight if weight else math.nan
        share = factor(config, cursor.step, self._source.steps)
        cursor.step += 1
        cursor.num_tokens += round(pairs["_tokens"][0])
        if not weight and math.isfinite(total):
            # nothing carries loss, such as a batch of completions that were all cut off and masked
            self._weights.clear()
            self._window.add(pairs)
            return stopped, {}
        if not (math.isfinite(total) and math.isfinite(norm)):
            self._weights.clear()
            return stopped, {"skipped_rows": skip(cursor, seen, self._ranks, self._warn)}
        if spiked(cursor, total / weight, norm, config.skip_spikes):
            self._weights.clear()
            figures = total / weight, norm
            rows = leave_out(cursor, *figures, seen, self._ranks, self._warn)
            return stopped, {"spike_rows": rows}
        clip = min(1.0, config.max_grad_norm / (norm + 1e-6)) if config.max_grad_norm else 1.0
        self._weights.scale(clip / weight)
        self._optimizer.step(share)
        self._weights.publish()
        self._weights.clear()
        cursor.skipped_in_a_row = 0
        self._window.add(pairs | {"grad_norm": (norm, 1.0)})
        if self._collector is not None:
            self._collector.observe(pairs)
        return stopped, {}

    def _agree(
        self, sums: Sums, stop: Callable[[], bool]
    ) -> tuple[dict[str, tuple[float, float]], float, bool]:
        """One sum over the ranks: metrics, the gradients' squared norm, whether any is to stop."""
        sums.add("_norm_squared", self._weights.norm_squared(), 0.0)
        sums.add("_stop", float(stop()), 0.0)
        pairs = sums.unpack(self._ranks.sum(sums.pack()))
        norm_squared, stopped = pairs.pop("_norm_squared")[0], pairs.pop("_stop")[0]
        return pairs, norm_squared, stopped > 0

    def _backward(self, total: Tensor) -> None:
        total.backward()
        self._weights.hand_over()

    def _line(self, left_out: dict[str, list[str]]) -> dict[str, Any]:
        """The run log's line for what has happened since the last one."""
        cursor, window = self._cursor, self._window
        share = factor(self._config, cursor.step - 1, self._source.steps)
        line: dict[str, Any] = {"step": cursor.step} | window.means()
        line |= self._routers.figures() if self._routers else {}
        line["learning_rate"] = self._config.lr * share
        if self._steps_per_epoch:
            line["epoch"] = cursor.step / self._steps_per_epoch
        line |= {"num_tokens": cursor.num_tokens} | window.rates(self._unit)
        line["peak_memory_bytes"] = peak_memory_bytes(self._ranks.device)
        self._window = Window()
        return line | left_out

    def _evaluation(self) -> dict[str, float]:
        assert self._evaluate is not None
        began = time.monotonic()
        found = self._runner.evaluate(self._evaluate)
        return {f"eval_{name}": value for name, value in found.items()} | {
            "eval_runtime": time.monotonic() - began
        }

    def _warn(self, line: str) -> None:
        self._console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)

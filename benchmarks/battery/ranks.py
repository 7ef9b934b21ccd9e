"""What one rank has saved goes on as two, and what two have saved as one."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from battery import resume
from battery.row import Outcome, Row, Size

CASES = ("sft", "sft, muon", "ppo")
STEPS, CUT = 6, 3
TOLERANCE = 1e-5
STATE = ("weights/", "optimizer/")


def stage(home: Path, case: str, folder: Path) -> None:
    """A stage on as many ranks as there are, for `launch`."""
    resume.trained(home, case, folder, STEPS)


def resaved(home: Path, optimizer: str, checkpoint: Path, target: Path) -> None:
    """Load a checkpoint's state on as many ranks as there are, and write it out again."""
    import torch
    from safetensors.torch import load_file, save_file

    from accord.checkpoint.folder import load_model
    from accord.config.train import TrainConfig
    from accord.stages.steps import language_step
    from accord.train.blocks import block_matrices, find_blocks
    from accord.train.microbatch import StepModule
    from accord.train.optim import Optimizer
    from accord.train.parallel import current_ranks
    from accord.train.precision import Weights
    from accord.train.resume import load_state, pack_state

    ranks, model = current_ranks(), load_model(home / "start")
    matrices, blocks = block_matrices(model), list(find_blocks(model).values())
    ranks.shard(StepModule(model, language_step, None), blocks, torch.float32)
    weights = Weights(model, torch.float32, ranks)
    config = TrainConfig.model_validate({"steps": STEPS, "optimizer": optimizer})
    state = Optimizer(weights, config, matrices, ranks)
    load_state(load_file(checkpoint / "tensors.safetensors"), weights, state)
    packed = pack_state(weights, state)
    ranks.on_first(lambda: save_file({n: t.contiguous() for n, t in packed.items()}, target))


def unequal(checkpoint: Path, again: Path) -> Iterator[str]:
    """Names of tensors of the state that are not the same to the bit."""
    import torch
    from safetensors.torch import load_file

    saved, found = load_file(checkpoint / "tensors.safetensors"), load_file(again)
    state = {name: tensor for name, tensor in saved.items() if name.startswith(STATE)}
    yield from state.keys() ^ found.keys()
    for name in state.keys() & found.keys():
        if state[name].dtype is not found[name].dtype or not torch.equal(state[name], found[name]):
            yield name


def losses(folder: Path) -> list[float]:
    """The losses of a stage's log."""
    lines = (folder / "accord" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def moved(home: Path, case: str, folder: Path) -> tuple[int, float, list[str]]:
    """One stage on one rank and on two, each gone on with on the other number.

    Gives how many tensors were compared, the largest difference of a loss, and what was not equal.
    """
    from safetensors.torch import load_file

    from accord.train.parallel import launch

    tensors, largest, faults = 0, 0.0, []
    for before, after in ((1, 2), (2, 1)):
        whole, cut = folder / f"{before}", folder / f"{before}-{after}"
        launch(stage, before, home, case, whole)
        place = whole / "accord" / "checkpoints" / f"step-{CUT}"
        if case != "ppo":  # whose state is of policy and critic both
            optimizer = resume.CASES[case].get("optimizer", "adamw")
            again = folder / f"again-{after}.safetensors"
            launch(resaved, after, home, optimizer, place, again)
            tensors += len(load_file(again))
            faults += [f"{case}, {before} to {after}: {n}" for n in sorted(unequal(place, again))]
        resume.cut_back(whole, cut, CUT)
        launch(stage, after, home, case, cut)
        pairs = list(zip(losses(cut), losses(whole), strict=True))
        if len(pairs) != STEPS:
            faults.append(f"{case}, {before} to {after}: {len(pairs)} steps")
        largest = max(largest, *(abs(one - two) for one, two in pairs[CUT:]))
    shutil.rmtree(folder)
    return tensors, largest, faults


def row(folder: Path, size: Size) -> Outcome:
    """Every case, both ways."""
    home = resume.world(folder / "world")
    found = {case: moved(home, case, folder / str(i)) for i, case in enumerate(CASES)}
    tensors = sum(count for count, _, _ in found.values())
    largest = max(difference for _, difference, _ in found.values())
    faults = [fault for _, _, wrong in found.values() for fault in wrong]
    return Outcome(
        not faults and largest <= TOLERANCE,
        f"{tensors} tensors of {len(CASES)} stages bitwise equal, {len(faults)} not; "
        f"next {STEPS - CUT} losses within {largest:.1g}",
        {"unequal": faults, "losses": {case: largest for case, (_, largest, _) in found.items()}},
    )


RANKS = Row(
    "ranks",
    "1 to 2 ranks and 2 to 1",
    "tensors bitwise equal; next losses within 1e-5",
    row,
)

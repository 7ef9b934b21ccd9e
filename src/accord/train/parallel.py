"""Ranks: who they are, how they add up, and how weights are sharded over them (FSDP2).

Nothing outside this file talks to torch.distributed. With one rank every function is the identity.
"""

import atexit
import gc
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, start_processes

from accord.errors import AccordError
from accord.train.interrupt import Interrupted

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among its peers.

    Args:
        rank: From 0.
        world: How many ranks there are.
        device: Where this rank computes.
        mesh: The ranks as FSDP2 wants them; none with one rank.
    """

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh | None = None

    def sum(self, values: Tensor) -> Tensor:
        """`values` added up over the ranks, in place."""
        if self.mesh is not None:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value`, in the order of the ranks."""
        if self.mesh is None:
            return [value]
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, value)
        return everyone

    def on_first(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0 alone and give its result, or its AccordError, to every rank."""
        if self.mesh is None:
            return work()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = work()
            except AccordError as error:
                outcome[1] = (error.what, error.where, error.fix)
        dist.broadcast_object_list(outcome, src=0)
        if outcome[1]:
            raise AccordError(*outcome[1])
        return outcome[0]

    def local(self, tensor: Tensor) -> Tensor:
        """This rank's share of a (possibly sharded) tensor; shares its storage."""
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def full(self, local: Tensor, shape: torch.Size) -> Tensor:
        """The whole tensor of `shape`, of which every rank holds its rows `local`."""
        if self.mesh is None or local.dim() == 0:
            return local
        stride = torch.empty(shape, device="meta").stride()
        whole = DTensor.from_local(local, self.mesh, [Shard(0)], shape=shape, stride=stride)
        return whole.full_tensor()

    def part(self, full: Tensor) -> Tensor:
        """This rank's rows of a whole tensor, cut as FSDP2 cuts them."""
        if self.mesh is None or full.dim() == 0:
            return full
        parts = full.chunk(self.world)
        return parts[self.rank] if self.rank < len(parts) else full[:0]

    def shard(self, root: nn.Module, blocks: Iterable[nn.Module], dtype: torch.dtype) -> None:
        """Shard each block and the root; gradients are summed over ranks, never averaged.

        Masters stay float32; `dtype` is what is gathered for compute.
        """
        if self.mesh is None:
            return
        policy = MixedPrecisionPolicy(
            param_dtype=None if dtype is torch.float32 else dtype,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for module in (*blocks, root):
            fully_shard(module, mesh=self.mesh, mp_policy=policy)
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)


def current_ranks() -> Ranks:
    """The ranks of this process: torchrun's environment, `launch`'s, or one rank.

    gloo joins CPUs, nccl GPUs; without ranks the device is the first GPU, else the CPU.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if not dist.is_initialized():
        if world == 1:
            return Ranks(0, 1, _device(0))
        device = _device(int(os.environ.get("LOCAL_RANK", os.environ["RANK"])))
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    rank, world = dist.get_rank(), dist.get_world_size()
    device = _device(int(os.environ.get("LOCAL_RANK", str(rank))))
    if world == 1:
        return Ranks(0, 1, device)
    return Ranks(rank, world, device, init_device_mesh(device.type, (world,)))


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def _leave() -> None:
    # A group that a dead cycle still holds would abort the process as it exits.
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()


def launch(work: Callable[..., None], ranks: int, *arguments: Any) -> None:
    """Run `work(*arguments)` as `ranks` processes that find each other; 1 runs it right here.

    `work` and its arguments must be picklable. SIGTERM and Ctrl-C reach every rank.

    Raises:
        AccordError, Interrupted: As the first rank that raised one.
        torch.multiprocessing.ProcessRaisedException: Any other error of a rank.
    """
    if ranks == 1:
        work(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        entry = partial(_rank_main, work, arguments, ranks, folder)
        context = start_processes(entry, nprocs=ranks, join=False, start_method="spawn")
        assert context is not None
        before = _forward_signals(context)
        try:
            while not context.join():
                pass
        except ProcessExitedException:
            _raise_outcome(Path(folder))
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _forward_signals(context: ProcessContext) -> dict[int, Any]:
    def forward(number: int, frame: FrameType | None) -> None:
        for process in context.processes:
            if process.is_alive() and process.pid is not None:
                # A terminal's Ctrl-C has reached the ranks already; a second one would be final.
                os.kill(process.pid, signal.SIGTERM)

    return {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGINT)}


def _rank_main(
    work: Callable[..., None], arguments: Sequence[Any], ranks: int, folder: str, rank: int
) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    meeting = (Path(folder) / "meeting").as_uri()
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=ranks)
    outcome: dict[str, Any]
    try:
        work(*arguments)
    except AccordError as error:
        outcome = {"error": [error.what, error.where, error.fix]}
    except Interrupted as stop:
        outcome = {"stop": [str(stop.folder), stop.step]}
    else:
        return
    finally:
        _leave()
    (Path(folder) / f"outcome-{rank}.json").write_text(json.dumps(outcome), encoding="utf-8")
    raise SystemExit(1)


def _raise_outcome(folder: Path) -> None:
    for path in sorted(folder.glob("outcome-*.json")):
        outcome = json.loads(path.read_text(encoding="utf-8"))
        if "error" in outcome:
            raise AccordError(*outcome["error"])
        raise Interrupted(Path(outcome["stop"][0]), outcome["stop"][1])

"""The fused head beside plain log_softmax + gather + autograd: medians of interleaved runs.

    python benchmarks/head.py [--json FILE] [--threads 1] [--repeats 7] [--chunks 64 128 …]

Milliseconds of forward and backward by the wall and by the processor's own clock, which a busy
machine disturbs less, and the ratio to plain of each.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from accord.objectives.logprobs import token_logps, weighted_nll
from harness import Contender, Gate, Row

SHAPES = ((4096, 256, 4096), (1024, 128, 8000))
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def plain(hidden_SD: Tensor, head_VD: Tensor, target_S: Tensor) -> Tensor:
    logps_SV = torch.log_softmax((hidden_SD @ head_VD.t()).float(), -1)
    return -logps_SV.gather(1, target_S[:, None]).sum()


def contenders(
    shape: tuple[int, int, int], dtype: torch.dtype, chunks: list[int], device: str
) -> dict[str, Callable[[], object]]:
    tokens, width, vocabulary = shape
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).to(device, dtype).requires_grad_()
    head = torch.randn(vocabulary, width, generator=generator).mul(0.05).to(device, dtype)
    head.requires_grad_()
    target = torch.randint(vocabulary, (tokens,), generator=generator).to(device)
    weight = torch.ones(tokens, device=device)

    def step(loss: Callable[[], Tensor]) -> Callable[[], object]:
        def run() -> None:
            hidden.grad = head.grad = None
            loss().backward()
            if device != "cpu":
                torch.cuda.synchronize()

        return run

    def kept(keep_bytes: int) -> Tensor:
        return token_logps(hidden, head, target, keep_bytes=keep_bytes)[0].sum()

    def scored() -> Tensor:
        with torch.no_grad():
            return token_logps(hidden, head, target)[0]

    named: dict[str, Callable[[], object]] = {
        "plain": step(lambda: plain(hidden, head, target)),
        "weighted_nll": step(lambda: weighted_nll(hidden, head, target, weight)[0]),
        "token_logps": step(lambda: kept(64 << 20)),
        "token_logps, nothing kept": step(lambda: kept(0)),
        "token_logps, no gradient": scored,
    }
    for chunk in chunks:
        named[f"weighted_nll, chunk {chunk}"] = step(
            lambda chunk=chunk: weighted_nll(hidden, head, target, weight, chunk=chunk)[0]
        )
    return named


def interleaved(
    named: dict[str, Callable[[], object]], repeats: int
) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor milliseconds of each call; one round warms up and is not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    for turn in range(repeats + 1):
        for name, run in named.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            spent = (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3
            if turn:
                times[name].append(spent)
    return times


def measure(
    shape: tuple[int, int, int], precision: str, repeats: int, chunks: list[int], device: str
) -> list[dict[str, object]]:
    times = interleaved(contenders(shape, PRECISIONS[precision], chunks, device), repeats)
    medians = {
        name: tuple(statistics.median(column) for column in zip(*spent, strict=True))
        for name, spent in times.items()
    }
    plain_wall, plain_cpu = medians["plain"]
    return [
        {
            "tokens": shape[0],
            "width": shape[1],
            "vocabulary": shape[2],
            "precision": precision,
            "device": device,
            "threads": torch.get_num_threads(),
            "what": name,
            "wall_ms": round(wall, 2),
            "spread_ms": round(max(t[0] for t in times[name]) - min(t[0] for t in times[name]), 2),
            "cpu_ms": round(cpu, 2),
            "ratio_to_plain": round(plain_wall / wall, 3),
            "cpu_ratio_to_plain": round(plain_cpu / cpu, 3),
        }
        for name, (wall, cpu) in medians.items()
    ]


def at_gate(gate: Gate, name: str, precision: str) -> None:
    """One way of taking loss and gradients, at the study model's shape."""
    step = contenders(SHAPES[1], PRECISIONS[precision], [], "cpu")[name]
    while True:
        gate.step()
        step()


def row(folder: Path, quick: bool) -> Row:
    """Loss and gradients of the head alone: 1,024 tokens, width 128, 8,000 tokens."""
    del folder
    return Row(
        "head",
        "Head, forward and backward, 1,024 tokens, width 128, vocabulary 8,000",
        "tokens",
        [
            Contender(f"{name} {p}", at_gate, SHAPES[1][0], {"name": name, "precision": p})
            for p in PRECISIONS
            for name in ("plain", "weighted_nll", "token_logps")
        ],
        steps=1 if quick else 5,
        rounds=2 if quick else 7,
        targets=[("weighted_nll fp32", "plain fp32", 2.5)],
    )


def shape_of(text: str) -> tuple[int, int, int]:
    tokens, width, vocabulary = (int(part) for part in text.split(","))
    return tokens, width, vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file the figures are written to")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--chunks", type=int, nargs="*", default=[])
    parser.add_argument("--shapes", type=shape_of, nargs="*", default=SHAPES, metavar="S,D,V")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows: list[dict[str, object]] = []
    for shape in args.shapes:
        for precision in PRECISIONS:
            found = measure(shape, precision, args.repeats, args.chunks, args.device)
            print(f"S {shape[0]}  D {shape[1]}  V {shape[2]}  {precision}")
            for row in found:
                print(
                    f"  {row['what']:28} {row['wall_ms']:>9} ms ±{row['spread_ms']:<8}"
                    f" x{row['ratio_to_plain']:<6} cpu {row['cpu_ms']:>8} ms"
                    f" x{row['cpu_ratio_to_plain']}"
                )
            rows += found
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

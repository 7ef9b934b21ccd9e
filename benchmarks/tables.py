"""Results as tables: on the terminal and, from the same numbers, as a page of the documentation."""

import math
from collections.abc import Mapping
from typing import Any

from harness import Measured, Row, ratio

MIB = 1 << 20
INTRODUCTION = """# Speed

Written by `make bench` (`benchmarks/run.py`) from `benchmarks/results/cpu.json`; not edited by
hand.

Every contender is a process of its own and does the same work: the same weights, the same batches,
the same number of tokens. They run in turn, round after round, one at a time, and a step lasts from
its start to the start of the next, so that data loading, metrics and logging count. Figures are
medians over the rounds, with the slowest and the fastest. A ratio is the median of the rounds'
ratios. TRL runs its own trainer; the plain loop of training is `benchmarks/plain.py`, a
hand-written model with full logits. Memory is the peak resident memory and, in brackets, how much
of it came after libraries, weights and data were loaded. Servers wait stopped while another is
measured; their memory counts pages that processes share in parts.
"""
LATENCIES: Mapping[str, str] = {
    "first token, ms (worst)": "first",
    "further token, ms (worst)": "each",
}
"""Columns of a row of servers, and what their notes are called."""
NOTED: Mapping[str, str] = {
    "first_loss": "First loss",
    "first_grad_norm": "First gradient norm",
    "save_ms": "Milliseconds a save",
    "save_share": "Per cent of the time spent in saves or waiting for them",
}
"""Notes that all contenders of a row may have, and their sentence."""
CEILING = """## What stands in the way of the targets

The targets were set on a core whose matrix units multiply bf16 about seven times as fast as fp32
(AMX). Where the line under a table names no AMX, bf16 products are about twice as fast as fp32, and
they bound every contender alike: at this size the head's three products and the blocks' products
alone take more than half of Accord's step, and they run at the rate that the same line states. What
is left beside them is element-wise work (softmax of the head, attention, norms), spread thin.
Generation at batch 1 and 8 is bound by the cost of starting each operation, at 64 by the head's
product and the reading of the cache; a compiled or fused decoding step is the next thing to build.
"""


def to_json(row: Row, measured: Mapping[str, Measured]) -> dict[str, Any]:
    """A row's raw rates and what the table says of them."""
    return {
        "title": row.title,
        "unit": row.unit,
        "remarks": list(row.remarks),
        "beside": list(row.beside),
        "contenders": {name: vars(found) for name, found in measured.items()},
        "targets": [
            {
                "ours": ours,
                "peer": peer,
                "target": target,
                "ratio": ratio_of(measured[ours], measured[peer]),
                "cpu_ratio": cpu_ratio(measured, ours, peer),
            }
            for ours, peer, target in row.targets
        ],
    }


def from_json(key: str, held: Mapping[str, Any]) -> tuple[Row, dict[str, Measured]]:
    """What `to_json` gave, without the contenders' code."""
    targets = [(t["ours"], t["peer"], t["target"]) for t in held["targets"]]
    # results that were measured before rows had them have none
    remarks, beside = held.get("remarks", ()), [tuple(pair) for pair in held.get("beside", ())]
    row = Row(key, held["title"], held["unit"], (), 0, 0, targets, remarks, beside)
    return row, {name: Measured(**found) for name, found in held["contenders"].items()}


def ratio_of(ours: Measured, peer: Measured) -> float | None:
    """How many times as fast; none where one of the two has no figures."""
    return ratio(ours.rates, peer.rates) if ours.rates and peer.rates else None


def cpu_ratio(measured: Mapping[str, Measured], ours: str, peer: str) -> float | None:
    """The same by the processor's clock; none of servers, where it is the client's."""
    if is_served(measured) or not (measured[ours].rates and measured[peer].rates):
        return None
    return ratio(measured[ours].cpu_rates, measured[peer].cpu_rates)


def is_ours(name: str) -> bool:
    """Whether a contender is Accord (at the head: not plain)."""
    return name.startswith(("accord", "weighted_nll", "token_logps"))


def columns(row: Row, measured: Mapping[str, Measured]) -> list[str]:
    """The table's header: a ratio to each peer."""
    peers = [f"x {name}" for name in measured if not is_ours(name)] if row.targets else []
    peers += ["x the line above"] if row.beside else []
    latencies = list(LATENCIES) if is_served(measured) else []
    memory = "server, MiB" if is_served(measured) else "peak MiB (in steps)"
    return ["", f"{row.unit}/s", "slowest to fastest", *peers, *latencies, memory]


def is_served(measured: Mapping[str, Measured]) -> bool:
    """Whether a row is of servers, which have latencies and memory of their own."""
    return any("first_ms" in found.notes for found in measured.values())


def latencies(figures: Measured) -> list[str]:
    """Median and worst milliseconds, in the order of the header."""
    found = figures.notes
    return [
        f"{found[f'{name}_ms']:.1f} ({found[f'{name}_worst_ms']:.1f})"
        for name in LATENCIES.values()
    ]


def lines(row: Row, measured: Mapping[str, Measured]) -> list[list[str]]:
    """The table's cells; ratios stand beside Accord's lines, with the target where there is one."""
    targets = {(ours, peer): target for ours, peer, target in row.targets}
    peers = [name for name in measured if not is_ours(name)] if row.targets else []
    found = []
    for name, figures in measured.items():
        if figures.error:
            found.append([name, "failed", *[""] * (len(columns(row, measured)) - 2)])
            continue
        ratios = []
        for peer in peers:
            value = ratio_of(figures, measured[peer]) if is_ours(name) else None
            goal = targets.get((name, peer))
            words = "" if value is None else f"{value:.1f}"
            ratios.append(words + (f" (target {goal:g})" if goal and words else ""))
        if row.beside:
            own = dict(row.beside).get(name)
            value = ratio_of(figures, measured[own]) if own else None
            ratios.append("" if value is None else f"{value:.1f}")
        spread = f"{number(min(figures.rates))} to {number(max(figures.rates))}"
        if is_served(measured):
            memory = [*latencies(figures), f"{figures.notes['server_bytes'] // MIB:,.0f}"]
        else:
            grown = (figures.peak_bytes - figures.loaded_bytes) // MIB
            memory = [f"{figures.peak_bytes // MIB:,} ({grown:,})"]
        found.append([name, number(figures.median), spread, *ratios, *memory])
    return found


def notes(row: Row, measured: Mapping[str, Measured]) -> list[str]:
    """Sentences below the table: what is paid once, and whether all started alike."""
    said = [*row.remarks]
    if row.beside:  # twice as many contenders as sizes: the table says enough
        return said
    for name, figures in measured.items():
        took = figures.notes.get("reference_seconds")
        if took and figures.rates:
            pairs = figures.notes["reference_pairs"]
            rate = pairs / (pairs / figures.median + took)
            said.append(
                f"{name}: {took:.2f} s for the reference log-probabilities of {pairs:.0f} pairs; "
                f"with them, {number(rate)} {row.unit}/s over a single epoch."
            )
        if "compiled" in name and "warm_up_seconds" in figures.notes:
            said.append(f"{name}: first round {figures.notes['warm_up_seconds']:.0f} s.")
    for note, title in NOTED.items():
        first = {name: f.notes[note] for name, f in measured.items() if note in f.notes}
        if first:
            said.append(f"{title}: " + ", ".join(f"{n} {v:z.3f}" for n, v in first.items()) + ".")
    return said


def number(value: float) -> str:
    """Two or three digits and thousands in groups."""
    if math.isnan(value):
        return "-"
    if value < 1:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def page(result: Mapping[str, Any]) -> str:
    """The documentation's page."""
    parts = [INTRODUCTION]
    for key, held in result["rows"].items():
        row, measured = from_json(key, held)
        header = columns(row, measured)
        parts.append(f"## {row.title}\n")
        parts.append("\n".join(markdown(header, lines(row, measured))) + "\n")
        parts += [f"- {sentence}" for sentence in (*notes(row, measured), circumstances(held))]
        parts.append("")
    parts.append(CEILING)
    return "\n".join(parts).rstrip() + "\n"


def circumstances(held: Mapping[str, Any]) -> str:
    """When, where and with what a row was measured."""
    measured = held["measured"]
    machine, threads = measured["environment"], measured["threads"]
    flags = ", ".join(machine["flags"]) or "no AVX2, AVX-512 or AMX"
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    gflops = measured["gflops"]
    how = "two rounds only, " if measured["quick"] else ""
    return (
        f"Measured {measured['date'][:10]}, {how}{threads} thread{'s' if threads > 1 else ''} on "
        f"{machine['machine']} ({flags}), {machine['cores']} cores, load {measured['load']} "
        f"(of which about 1 is the benchmark), matrix products at {gflops['fp32']} GFLOP/s in fp32 "
        f"and {gflops['bf16']} in bf16; {versions}; revision `{measured['revision']}`."
    )


def markdown(header: list[str], cells: list[list[str]]) -> list[str]:
    """A table, the first column left and the others right."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return [f"| {' | '.join(line)} |" for line in (header, rule, *cells)]

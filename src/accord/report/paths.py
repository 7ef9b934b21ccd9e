"""Figures of policy stages: reward, judge and KL over the same steps, and against each other."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl

from accord.evaluation.findings.rollouts import KINDS
from accord.report.drawing import Drawing, Line, Panel, Points, canvas, drawing, legend, stacked
from accord.report.figures import policy_colours
from accord.report.svg import PAPER, SERIES, style

Document = Mapping[str, Any]
Curves = Mapping[str, Points]
KL = "objective/kl"
DOTS = 12
"""Points of a path: means of as many consecutive parts of the run."""
SHARES = (
    ("different", "unique"),
    ("cut off", "completions/clipped_ratio"),
    ("no spread", "frac_reward_zero_std"),
)
SINGLE = (
    ("tokens a completion", ("completions/mean_length",)),
    ("entropy, nats a token", ("policy/entropy_avg", "entropy")),
    ("critic: explained variance", ("critic/vf_explained_var",)),
)


def policy_figures(document: Document) -> list[Drawing]:
    """For each policy stage its reward, its judges and its KL, stacked over the same steps."""
    with mpl.rc_context(style()):
        return [drawn for name in _stages(document) for drawn in _overview(document, name)]


def sample_figures(document: Document) -> list[Drawing]:
    """For each policy stage what its roll-outs were like: length, shares, entropy, critic."""
    with mpl.rc_context(style()):
        return [drawn for name in _stages(document) for drawn in _samples(document, name)]


def path_figures(document: Document) -> list[Drawing]:
    """Reward, then each judge, against KL: the way that every policy stage took."""
    measures = {"reward": "Reward"}
    for name in _stages(document):
        measures |= {m: _label(m) for m in _judges(document["curves"][name])}
    with mpl.rc_context(style()):
        return [d for metric, title in measures.items() for d in _path(document, metric, title)]


def _stages(document: Document) -> list[str]:
    kinds = {name: stage.get("kind") for name, stage in document["stages"].items()}
    return [name for name in document["curves"] if kinds.get(name) in KINDS]


def _judges(found: Curves) -> list[str]:
    return [m for m in found if m.startswith("judges/") and m.endswith("/mean")]


def _label(metric: str) -> str:
    return metric.removeprefix("judges/").removesuffix("/mean")


def _colour(document: Document, name: str) -> str:
    """A stage's colour as a policy; by its place where it was not evaluated."""
    place = 1 + _stages(document).index(name) % (len(SERIES) - 1)
    return policy_colours(document).get(name, SERIES[place])


def _overview(document: Document, name: str) -> Iterator[Drawing]:
    found, colour = document["curves"][name], _colour(document, name)
    titles = {"reward": "reward"} | {m: f"judge: {_label(m)}" for m in _judges(found)}
    titles[KL] = "KL from the reference, nats a completion"
    panels = [
        Panel(title, [Line("", found[metric], colour)])
        for metric, title in titles.items()
        if found.get(metric)
    ]
    if not panels:
        return
    caption = "Means of each roll-out, and their running mean. The reward is what is maximised"
    caption += "; no stage is trained on a judge." if len(titles) > 2 else "."
    mark = _fell_from(document, name)
    if mark is not None:
        caption += f" Dashed: step {mark:,}, from which the judge fell."
    yield stacked(f"{name}-overview", f"{name}: what it gained", caption, panels, mark)


def _fell_from(document: Document, name: str) -> int | None:
    """The step from which a finding says that the stage is over-optimised."""
    for finding in document["findings"]:
        if finding["name"] == "over_optimised" and finding["evidence"]["stage"] == name:
            return finding["evidence"]["step"]
    return None


def _samples(document: Document, name: str) -> Iterator[Drawing]:
    found, colour = document["curves"][name], _colour(document, name)
    panels = []
    for title, metrics in SINGLE:
        metric = next((m for m in metrics if found.get(m)), None)
        if metric:
            panels.append(Panel(title, [Line("", found[metric], colour)]))
    shares = [
        Line(label, found[metric], SERIES[1 + i])
        for i, (label, metric) in enumerate(SHARES)
        if found.get(metric)
    ]
    if shares:
        panels.insert(1, Panel("shares of a roll-out", shares))
    if panels:
        caption = (
            "Completions that differ from all others, that were cut off at the limit, and groups "
            "whose rewards are all equal."
        )
        title = f"{name}: what it wrote"
        yield stacked(f"{name}-samples", title, caption if shares else "", panels, None)


def _path(document: Document, metric: str, title: str) -> Iterator[Drawing]:
    figure, axes = canvas()
    for name in _stages(document):
        found, colour = document["curves"][name], _colour(document, name)
        points = _joined(found.get(KL, []), found.get(metric, []))
        if not points:
            continue
        kl, values = zip(*points, strict=True)
        axes.plot(kl, values, "o-", color=colour, linewidth=1.4, markersize=2.8, label=name)
        axes.plot(
            kl[0], values[0], "o", markersize=6, markerfacecolor=PAPER, markeredgecolor=colour
        )
        axes.plot(kl[-1], values[-1], "o", markersize=6.5, color=colour)
    if not axes.lines:
        return
    legend(axes)
    axes.margins(0.06)
    axes.set_xlabel("KL from the reference in roll-outs, nats a completion")
    own = "Each stage's own reward" if metric == "reward" else f"The judge {title}"
    yield drawing(
        figure,
        f"path-{metric}",
        f"{title} against KL",
        f"{own} along its training, from the hollow dot to the large one.",
    )


def _joined(kl: Points, values: Points) -> Sequence[tuple[float, float]]:
    """(KL, value) averaged over consecutive parts of the steps that both have."""
    other = {step: value for step, value in values}
    both = [(x, other[step]) for step, x in kl if step in other]
    count = min(DOTS, len(both))
    cuts = [len(both) * i // count for i in range(count + 1)] if both else []
    parts = [both[a:b] for a, b in pairwise(cuts)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts
    ]

"""The report: one HTML file that needs nothing else, and the numbers beside it as report.json."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from accord.report.curves import reward_figures, reward_models, training_figures
from accord.report.environment import pages
from accord.report.figures import frontier_figures, policy_colours, score_figures
from accord.report.glossary import tooltip
from accord.report.numbers import Numbers
from accord.report.paths import path_figures, policy_figures, sample_figures
from accord.report.svg import VARIABLES

SHARES = ("unique", "ended", "empty", "positive", "copies")
"""Statistics shown in per cent."""


def render(document: Mapping[str, Any]) -> str:
    """The page of a result document: no script, no address, nothing loaded from elsewhere.

    Args:
        document: What `evaluation.document.assemble` returns.
    """
    environment = pages()
    environment.filters["revision"] = _short
    environment.globals.update(explain=tooltip, judged=partial(_judged, document), shares=SHARES)
    colours = {name: VARIABLES[c] for name, c in policy_colours(document).items()}
    return environment.get_template("report.html.j2").render(
        document=document,
        num=Numbers(document),
        colours=colours,
        statistics=_statistics(document),
        tokenizer=document["tokenizer"],
        score_figures=score_figures(document),
        frontier=frontier_figures(document),
        training_figures=training_figures(document),
        policy_figures=policy_figures(document),
        reward_figures=reward_figures(document),
        texts=[name for name in document["heldout"] if name not in reward_models(document)],
        reward_models=reward_models(document),
        sample_figures=sample_figures(document),
        path_figures=path_figures(document),
        recipe=json.dumps(document["recipe"], indent=2, ensure_ascii=False),
    )


def write(document: Mapping[str, Any], folder: Path) -> Path:
    """Write `report.html` and `report.json` into `folder`; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_text(numbers + "\n", encoding="utf-8")
    page = folder / "report.html"
    page.write_text(render(document), encoding="utf-8")
    return page


def _judged(document: Mapping[str, Any], scorer: str) -> str:
    """A scorer in plain words; one that the recipe named is what the recipe says."""
    reward = document["protocol"].get("rewards", {}).get(scorer)
    if reward is None:
        return tooltip(scorer)
    if reward.get("model"):
        return f"Score of the reward model {reward['model']}."
    return f"The reward function {reward['function']}."


def _short(revision: str) -> str:
    """A git revision of 12 digits, and whether files differed from it."""
    head, mark, rest = revision.partition("-")
    return head[:12] + mark + rest


def _statistics(document: Mapping[str, Any]) -> list[str]:
    """Names of the corpus statistics, in the order they were measured."""
    names = [name for p in document["policies"].values() for name in p["statistics"]]
    return list(dict.fromkeys(names))

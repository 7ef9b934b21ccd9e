"""The report of a study: one HTML file beside its numbers in study_report.json."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from accord.report import study_figures
from accord.report.drawing import Drawing
from accord.report.environment import pages
from accord.report.glossary import tooltip
from accord.report.numbers import Numbers
from accord.report.study_training import NARROW, training_figures
from accord.report.svg import VARIABLES

Document = Mapping[str, Any]
PAGE = "study.html"
FAMILIES: Mapping[str, tuple[str, str]] = {
    "variants": (
        "Between variants",
        "One policy under two variants that differ on one side only: in how they were trained, or "
        "in how they were evaluated.",
    ),
    "confounded": (
        "Between variants that changed both sides",
        "Training and evaluation changed at once: a difference here is no effect of training.",
    ),
    "policies": ("Against the reference", "A policy less the reference, within a variant."),
    "methods": ("Between policies", "Two policies, neither of them the reference."),
}
"""Family of claims to its heading and what it compares, in the order of the page."""
OTHERS = "scorers that were not named as primary"


@dataclass(frozen=True)
class Claims:
    """The claims of one family.

    Args:
        family: Its name in the document's `summary`.
        title: Heading.
        meaning: What is compared, in a sentence.
        told: Places in the document's claims of those told apart from 0.
        others: Places of all others.
    """

    family: str
    title: str
    meaning: str
    told: Sequence[int]
    others: Sequence[int]


@dataclass(frozen=True)
class Part:
    """Figures that are shown or folded together.

    Args:
        title: What they have in common.
        drawings: The figures.
        folded: Whether they are shown only when asked for.
    """

    title: str
    drawings: Sequence[Drawing]
    folded: bool = True


def render(document: Document) -> str:
    """The page of a study: no script, no address, nothing loaded from elsewhere.

    Args:
        document: What `evaluation.study.document.study_document` returns.
    """
    environment = pages()
    environment.globals["explain"] = tooltip
    scorer, trained = document["scorer"], training_figures(document)
    return environment.get_template("study.html.j2").render(
        document=document,
        num=Numbers(document),
        decimals={s: study_figures.decimals(document, s) for s in document["scorers"]},
        colours={name: VARIABLES[c] for name, c in study_figures.colours(document).items()},
        families=claims_by_family(document),
        pair=default_pair(document),
        overview=overview(document, scorer),
        prompts=prompt_parts(document, scorer),
        more=[Part(s, overview(document, s)) for s in document["scorers"] if s != scorer],
        at_same_kl=evaluated_alike(document) and bool(document["matched"]),
        training=[d for abreast, d in trained if abreast <= NARROW],
        training_wide=[d for abreast, d in trained if abreast > NARROW],
    )


def write(document: Document, folder: Path) -> Path:
    """Write `study.html` into `folder`, where the document is; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / PAGE
    page.write_text(render(document), encoding="utf-8")
    return page


def claims_by_family(document: Document) -> list[Claims]:
    """The families that have claims, those between variants first, other scorers' last."""
    found = []
    for secondary, (family, (title, meaning)) in product((False, True), FAMILIES.items()):
        places: tuple[list[int], list[int]] = ([], [])
        for at, claim in enumerate(document["claims"]):
            if claim["family"] == family and claim["primary"] != secondary:
                places[not claim["distinguishable"]].append(at)
        if any(places) and secondary:
            found.append(Claims(f"secondary {family}", f"{title}: {OTHERS}", meaning, *places))
        elif any(places):
            found.append(Claims(family, title, meaning, *places))
    return found


def default_pair(document: Document) -> tuple[str, str] | None:
    """The first variant with the first that differs from it in training and evaluation, or at all.

    None where the study has one variant.
    """
    first, *others = document["variants"]
    both = [
        contrast["after"]
        for contrast in document["factors"]["contrasts"]
        if contrast["before"] == first and contrast["verdict"] == "confounded"
    ]
    return (first, [*both, *others][0]) if others else None


def evaluated_alike(document: Document) -> bool:
    """Whether every policy's points were sampled and judged in one way: they can be compared."""
    points = [point for found in document["frontier"].values() for point in found]
    return len({point["alike"] for point in points}) == 1


def overview(document: Document, scorer: str) -> list[Drawing]:
    """Averages, before and after, ranks and the frontier of a scorer."""
    pair = default_pair(document)
    drawings = [study_figures.averages(document, scorer)]
    if pair:
        drawings.append(study_figures.bump(document, scorer))
        drawings.append(study_figures.before_after(document, pair, scorer))
    return [*drawings, *study_figures.frontiers(document, scorer)]


def prompt_parts(document: Document, scorer: str) -> list[Part]:
    """Prompt by prompt: the default pair open, each other variant folded."""
    first = document["variants"][0]
    pair = default_pair(document)
    shown = [d for variant in pair or (first,) for d in _of_variant(document, variant, scorer)]
    title = " and ".join(pair) if pair else first
    return [Part(title, shown, folded=False), *_others(document, scorer, pair or (first,))]


def _others(document: Document, scorer: str, shown: Sequence[str]) -> Iterator[Part]:
    first = document["variants"][0]
    for variant in document["variants"]:
        if variant not in shown:
            before = study_figures.before_after(document, (first, variant), scorer)
            yield Part(variant, [before, *_of_variant(document, variant, scorer)])


def _of_variant(document: Document, variant: str, scorer: str) -> list[Drawing]:
    return [
        study_figures.per_prompt(document, variant, scorer),
        study_figures.heat_map(document, variant, scorer),
    ]

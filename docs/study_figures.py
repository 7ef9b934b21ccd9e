"""Writes a study's figures as SVG files, and its tables as Markdown, for a page of these docs.

    python docs/study_figures.py runs/rlhf-study docs/img/study
    python docs/study_figures.py runs/rlhf-study docs/img/study docs/rlhf-study.md

All numbers are those of `study_report.json`. `tables.md`, beside the figures, holds every part; in
a page each part is put between `<!-- study: NAME -->` and `<!-- end study -->`: headline, findings,
can, cannot, claims, against-reference, averages, heldout, limits, figures. Other text stays.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from accord.report.drawing import Drawing
from accord.report.numbers import number, signed
from accord.report.study import claims_by_family, overview, prompt_parts
from accord.report.study_figures import decimals
from accord.report.study_training import training_figures

Document = Mapping[str, Any]
MARGIN, SCALE = 8, 1.4
"""Points around a figure, and how much larger than in the page it is."""
HERE = Path(__file__).resolve().parent
COORDINATES = re.compile(r'(\s(?:d|points|[xy][12]?|[cr][xy]?|width|height)=")([^"]*)"')
"""Attributes of an SVG that are places or sizes."""
DIGITS = re.compile(r"\d*\.\d{2,}")
"""A number with more digits than anybody sees."""


def drawings(document: Document) -> list[Drawing]:
    """The figures that the study's page shows first: main scorer, default pair, training."""
    scorer = document["scorer"]
    prompts = [
        d for part in prompt_parts(document, scorer) if not part.folded for d in part.drawings
    ]
    return [*overview(document, scorer), *prompts, *(d for _, d in training_figures(document))]


def standalone(svg: str) -> str:
    """A page's inline SVG as a file: light colours for variables, on paper, places to a tenth."""
    css = (files("accord.report") / "templates" / "report.css").read_text(encoding="utf-8")
    svg = COORDINATES.sub(lambda found: found[1] + DIGITS.sub(_rounded, found[2]) + '"', svg)
    light = dict(re.findall(r"(--[a-z0-9-]+):\s*(#[0-9a-f]+)", css.partition("@media")[0]))
    body = re.sub(r"var\((--[a-z0-9-]+)\)", lambda found: light[found[1]], svg)
    [box] = re.findall(r'viewBox="([^"]+)"', body)
    _, _, width, height = (float(side) for side in box.split())
    wide, high = width + 2 * MARGIN, height + 2 * MARGIN
    body = body.replace(
        f'<svg viewBox="{box}"',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SCALE * wide:.0f}" '
        f'height="{SCALE * high:.0f}" viewBox="{-MARGIN} {-MARGIN} {wide:g} {high:g}"',
    )
    paper = (
        f'<rect x="{-MARGIN}" y="{-MARGIN}" width="100%" height="100%" fill="{light["--paper"]}"/>'
    )
    head, _, rest = body.partition(">")
    return f"{head}>\n{paper}{rest}\n"


def _rounded(found: re.Match[str]) -> str:
    """A length in points to a tenth, without the zeros that say nothing."""
    return f"{float(found[0]):.1f}".removesuffix(".0")


def parts(document: Document, shown: Sequence[Drawing], where: str) -> dict[str, str]:
    """Name to Markdown.

    Args:
        document: The study's numbers.
        shown: Its figures.
        where: Their folder, as the page reaches it.
    """
    factors = document["factors"]
    return {
        "headline": document["headline"],
        "findings": findings(document),
        "can": bullets(factors["can"]),
        "cannot": bullets(factors["cannot"]),
        "claims": claims(document, ("variants", "confounded")),
        "against-reference": claims(document, ("policies", "methods")),
        "averages": averages(document),
        "heldout": heldout(document),
        "limits": bullets(document["limits"]),
        "figures": "\n\n".join(
            f"![{d.title}]({where}/{d.name}.svg)\n\n*{d.title}.* {d.caption}" for d in shown
        ),
    }


def findings(document: Document) -> str:
    """A row for every finding that is no mere note."""
    rows = [
        (f["severity"], f["sentence"], ", ".join(
            f"{variant} {len(facts['seeds'])} of {facts['of']}"
            for variant, facts in f["variants"].items()), f["remedy"])
        for f in document["findings"]
        if f["severity"] != "info"
    ]  # fmt: skip
    return table(("", "finding (of one run)", "seeds with it", "remedy"), rows)


def claims(document: Document, families: Iterable[str]) -> str:
    """Claims told apart with their sentences; all others as a count and a folded table."""
    text = []
    for family in (f for f in claims_by_family(document) if f.family in families):
        every = [document["claims"][at] for at in (*family.told, *family.others)]
        counts = document["summary"][family.family]
        text.append(
            f"**{family.title}**: {counts['distinguishable']} of {counts['comparisons']} told "
            f"apart, {counts['unadjusted']} more only without the correction (†)."
        )
        text.append(bullets(document["claims"][at]["sentence"] for at in family.told))
        text.append(table(
            ("comparison", "difference", "95 %", "p after Holm", ""),
            (claim_row(document, claim) for claim in every),
        ))  # fmt: skip
    return "\n\n".join(part for part in text if part)


def claim_row(document: Document, claim: Mapping[str, Any]) -> tuple[str, ...]:
    """Comparison, difference, interval, p and verdict."""
    digits = max(2, decimals(document, claim["scorer"]))
    low, high = (number(end, digits) for end in claim["ci95"])
    about = f"{claim['context']}: " if claim["context"] else ""
    mark = " †" if claim["unadjusted"] else ""
    return (
        f"{about}{claim['after']} − {claim['before']} in {claim['scorer']}",
        signed(claim["difference"], digits),
        f"[{low}, {high}]{mark}",
        number(claim["p_holm"], 3),
        "told apart" if claim["distinguishable"] else "not distinguishable",
    )


def averages(document: Document) -> str:
    """Mean and interval of every variant, policy and scorer."""
    rows = []
    for variant, policies in document["averages"].items():
        for policy, scores in policies.items():
            cells = [
                interval(scores[s]["mean"], scores[s]["ci95"], decimals(document, s))
                for s in document["scorers"]
            ]
            points = document["frontier"].get(policy, [])
            kl = [p["kl"] for p in points if variant in p["variants"]]
            rows.append((variant, policy, *cells, number(kl[0]["mean"], 2) if kl else "–"))
    return table(("variant", "policy", *document["scorers"], "KL, nats"), rows)


def heldout(document: Document) -> str:
    """Held-out figures of each stage, with their range over seeds."""
    rows = [
        (stage, variant, f"`{name}`", number(f["mean"], 3),
         f"{number(f['range'][0], 3)} … {number(f['range'][1], 3)}")
        for stage, variants in document["heldout"].items()
        for variant, figures in variants.items()
        for name, f in figures.items()
    ]  # fmt: skip
    return table(("stage", "variant", "figure", "mean", "over seeds"), rows)


def interval(mean: float, ends: Sequence[float], digits: int) -> str:
    """`0.42 [0.31, 0.53]`."""
    return f"{number(mean, digits)} [{number(ends[0], digits)}, {number(ends[1], digits)}]"


def bullets(sentences: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', '&#124;') for c in line)} |" for line in lines)


def filled(page: str, found: Mapping[str, str]) -> str:
    """A page with each named part between its two comments.

    Raises:
        KeyError: The page names a part that there is none of.
    """
    return re.sub(
        r"(<!-- study: (\S+) -->\n).*?(<!-- end study -->)",
        lambda m: f"{m[1]}\n{found[m[2]]}\n\n{m[3]}",
        page,
        flags=re.DOTALL,
    )


def main(study: Path, out: Path, pages: Sequence[Path]) -> None:
    """Write the figures and `tables.md` into `out`, and the parts into the pages."""
    document = json.loads((study / "study_report.json").read_text(encoding="utf-8"))
    shown = drawings(document)
    out.mkdir(parents=True, exist_ok=True)
    for drawing in shown:
        (out / f"{drawing.name}.svg").write_text(standalone(drawing.svg), encoding="utf-8")
    within = out.resolve().is_relative_to(HERE)
    where = out.resolve().relative_to(HERE).as_posix() if within else "."
    found = parts(document, shown, where)
    text = "\n\n".join(f"<!-- study: {name} -->\n\n{text}" for name, text in found.items())
    (out / "tables.md").write_text(text + "\n", encoding="utf-8")
    for page in pages:
        page.write_text(filled(page.read_text(encoding="utf-8"), found), encoding="utf-8")
    print(f"{len(shown)} figures and tables.md in {out}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, target, *others = map(Path, sys.argv[1:])
    main(folder, target, others)

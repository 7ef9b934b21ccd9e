"""Numbers of the page: each is looked up in the result document by its path, and says which."""

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

Form = Callable[[float, int], str]


def number(value: float, digits: int) -> str:
    """With a true minus and thousands apart."""
    return f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float, digits: int) -> str:
    """As `number`, with a plus where it is positive."""
    return f"+{number(value, digits)}" if value > 0 else number(value, digits)


def share(value: float, digits: int) -> str:
    """A share in per cent, with two digits fewer."""
    return f"{number(100 * value, max(digits - 2, 0))}\u00a0%"


def gain(value: float, digits: int) -> str:
    """A difference of shares in per cent, with its sign."""
    return f"{signed(100 * value, max(digits - 2, 0))}\u00a0%"


def count(value: float, _: int) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def seconds(value: float, _: int) -> str:
    """Seconds as h, min and s."""
    whole = round(value)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{value:.1f} s"


def gibibytes(value: float, _: int) -> str:
    """Bytes as GiB."""
    return f"{value / 2**30:.1f}\u00a0GiB"


FORMS: Mapping[str, Form] = {
    "number": number,
    "signed": signed,
    "share": share,
    "gain": gain,
    "count": count,
    "seconds": seconds,
    "gibibytes": gibibytes,
}


class Numbers:
    """Looks numbers up in a result document and marks each with where it stands.

    Args:
        document: The result document, as written to report.json.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __call__(self, *path: str | int, form: str = "number", digits: int = 3) -> Markup:
        """`<data value="0.578123" data-at="/policies/dpo/…">0.578</data>`; a dash where none."""
        value: Any = self._document
        for key in path:
            if isinstance(value, Mapping) and key not in value:
                return Markup('<span class="none">–</span>')
            value = value[key]
        if value is None:
            return Markup('<span class="none">–</span>')
        return Markup('<data value="{}" data-at="{}">{}</data>').format(
            repr(value), pointer(path), FORMS[form](value, digits)
        )

    def interval(self, *path: str | int, form: str = "number", digits: int = 3) -> Markup:
        """`[low, high]`, both looked up."""
        low, high = (self(*path, end, form=form, digits=digits) for end in (0, 1))
        return Markup('<span class="ci">[{}, {}]</span>').format(low, high)

    def digits(self, scorer: str) -> int:
        """Decimals for means of a scorer, the same in every table: by the size of its scores."""
        edges = self._document["histograms"].get(scorer, {}).get("edges", [0.0])
        return 3 if max(abs(edges[0]), abs(edges[-1])) < 10 else 1


def pointer(path: tuple[str | int, ...]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)

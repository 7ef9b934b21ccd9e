"""Numbers of the page: each is looked up in the result document by its path, and says which."""

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

Form = Callable[[float], str]


def number(value: float) -> str:
    """Three decimals for small numbers, fewer for large ones."""
    size = abs(value)
    digits = 3 if size < 10 else 1 if size < 1000 else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float) -> str:
    """As `number`, with a plus where it is positive."""
    return f"+{number(value)}" if value > 0 else number(value)


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.1f} %"


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    """Seconds as h, min and s."""
    whole = round(value)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{value:.1f} s"


FORMS: Mapping[str, Form] = {
    "number": number,
    "signed": signed,
    "share": share,
    "count": count,
    "seconds": seconds,
}


class Numbers:
    """Looks numbers up in a result document and marks each with where it stands.

    Args:
        document: The result document, as written to report.json.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __call__(self, *path: str | int, form: str = "number") -> Markup:
        """`<data value="0.578123" data-at="/policies/dpo/…">0.578</data>`; a dash where none."""
        value: Any = self._document
        for key in path:
            if isinstance(value, Mapping) and key not in value:
                return Markup('<span class="none">–</span>')
            value = value[key]
        if value is None:
            return Markup('<span class="none">–</span>')
        return Markup('<data value="{}" data-at="{}">{}</data>').format(
            repr(value), pointer(path), FORMS[form](value)
        )

    def interval(self, *path: str | int, form: str = "number") -> Markup:
        """`[low, high]`, both looked up."""
        low, high = self(*path, 0, form=form), self(*path, 1, form=form)
        return Markup('<span class="ci">[{}, {}]</span>').format(low, high)


def pointer(path: tuple[str | int, ...]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)

"""How every template of the report is read: strictly, with the same white space."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def pages() -> Environment:
    """For HTML: everything is escaped, and what is missing is an error."""
    return _environment(escaped=True)


def cards() -> Environment:
    """For Markdown: nothing is escaped."""
    return _environment(escaped=False)


def _environment(escaped: bool) -> Environment:
    return Environment(
        loader=PackageLoader("accord.report"),
        autoescape=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

"""A page taken apart, for the tests of run and study reports."""

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of every <data>."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.data: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            self.data.append((dict(attrs)["data-at"], dict(attrs)["value"], ""))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self.open and self.open[-1] == "data":
            at, value, shown = self.data[-1]
            self.data[-1] = (at, value, shown + data)


def look_up(document: dict, pointer: str):
    for key in pointer.split("/")[1:]:
        name = key.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


def as_number(shown: str) -> tuple[float, float]:
    """A shown number and half a unit of its last digit."""
    clean = shown.replace("−", "-").replace(",", "").replace("+", "")
    scale = 0.01 if "%" in clean else 2**30 if "GiB" in clean else 1.0
    clean = clean.split("\u00a0")[0]
    decimals = len(clean.partition(".")[2])
    return float(clean) * scale, 0.5000001 * 10**-decimals * scale

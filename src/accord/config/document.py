"""YAML read as plain values, each with the line it was written on."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from accord.errors import AccordError, did_you_mean

Place = tuple[str | int, ...]
MERGE = "tag:yaml.org,2002:merge"
PLAIN = frozenset({"null", "bool", "int", "float", "str", "seq", "map"})
MOST_VALUES = 100_000  # aliases of aliases grow without bound; no honest recipe comes near


@dataclass(frozen=True)
class Document:
    """A tree of plain values and where each of them was written.

    Args:
        value: Mappings, lists and scalars only.
        origins: Place in the tree to `file:line`, or to the override that set it.
        name: What to call the whole document in a message.
    """

    value: Any
    origins: dict[Place, str]
    name: str

    def origin(self, place: Place) -> str:
        """Where a place was written; of one that is not there, where its parent was."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.origins:
                return self.origins[place[:end]]
        return self.name

    def where(self, place: Place) -> str:
        """Origin and key path of a place, as an error names them."""
        origin, path = self.origin(place), dotted(place)
        return ", ".join(part for part in (origin, path) if part)


def dotted(place: Place) -> str:
    """A place as it is written in an override: `stages.dpo.beta`."""
    return ".".join(str(key) for key in place)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain scalars: `no` and `12:30` are text, `1e-3` is a number."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )


def read_yaml(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        AccordError: No such file, not UTF-8, not YAML, or a key written twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise AccordError("no such file", str(path), _neighbours(path)) from None
    except IsADirectoryError:
        fix = "give the path of the file itself"
        raise AccordError("this is a folder, not a YAML file", str(path), fix) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise AccordError("not UTF-8 text", f"{path}:{line}", "save it as UTF-8") from None
    except OSError as error:
        raise AccordError(
            f"cannot be read: {error.strerror}", str(path), "look at its permissions, or the link"
        ) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Document:
    """Parse YAML text; `name` stands for it in messages.

    Raises:
        AccordError: Not YAML, a key written twice, or an alias that contains itself.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        tree = _Tree(name, {}, 0)
        value = tree.build(node, (), frozenset()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        what = f"not valid YAML: {error.problem or error.context}"
        raise AccordError(what, where, _yaml_fix(error)) from None
    except yaml.YAMLError as error:
        what = f"not valid YAML: {error}"
        raise AccordError(what, name, "take out what is no text") from None
    return Document(value, tree.origins, name)


def parse_value(text: str) -> Any:
    """The plain value that a YAML fragment such as `0.3` or `[a, b]` stands for."""
    return parse_yaml(text, "value").value


def _yaml_fix(error: yaml.MarkedYAMLError) -> str:
    """What mends the commonest faults; what was open when it was noticed names its line."""
    problem, begun = error.problem or "", error.context_mark
    opened = f" of line {begun.line + 1}" if begun else ""
    fixes = {
        "\\t": "indent with blanks, not with tabs",
        "']'": f"close the [{opened}, or put a comma between its items",
        "'}'": f"close the {{{opened}, or put a comma between its keys",
        "could not find expected ':'": f"write a blank behind the colon{opened}, as in key: value",
        "mapping values are not allowed": "put text that holds ': ' in quotes, or look at the "
        "indentation",
        "end of stream": f"close the quote{opened}",
    }
    usual = "look at indentation, quotes and brackets there and in the line above"
    return next((fix for sign, fix in fixes.items() if sign in problem), usual)


def _neighbours(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    names = [file.name for pattern in ("*.yaml", "*.yml") for file in folder.glob(pattern)]
    return did_you_mean(path.name, names) or "give the path of a YAML file"


@dataclass
class _Tree:
    """Turns YAML nodes into plain values and notes their lines."""

    name: str
    origins: dict[Place, str]
    values: int

    def build(self, node: Node, place: Place, above: frozenset[int]) -> Any:
        line = node.start_mark.line + 1
        self.origins[place] = f"{self.name}:{line}"
        self.values += 1
        if id(node) in above:
            raise AccordError("an alias contains itself", f"{self.name}:{line}")
        if self.values > MOST_VALUES:
            raise AccordError(f"more than {MOST_VALUES} values", self.name, "write fewer aliases")
        if node.tag.rpartition(":")[2] not in PLAIN:
            raise AccordError(
                f"the tag '{node.tag}' is not allowed",
                f"{self.name}:{line}",
                "recipes hold text, numbers, lists and mappings only",
            )
        if isinstance(node, MappingNode):
            return self.mapping(node, place, above | {id(node)})
        if isinstance(node, SequenceNode):
            below = above | {id(node)}
            return [self.build(item, (*place, i), below) for i, item in enumerate(node.value)]
        return self.scalar(node, line)

    def mapping(self, node: MappingNode, place: Place, above: frozenset[int]) -> dict[str, Any]:
        here = self.origins[place]
        # A merge gives what the mapping does not say itself; the first of several wins.
        value: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag == MERGE:
                several = item.value if isinstance(item, SequenceNode) else [item]
                for part in reversed(several):
                    value |= self.merged(part, place, above)
        self.origins[place] = here
        own: set[str] = set()
        for key, item in node.value:
            if key.tag != MERGE:
                name = self.key(key, place, own)
                own.add(name)
                value[name] = self.build(item, (*place, name), above)
                # The key's line, not the value's: that is where one looks.
                self.origins[(*place, name)] = f"{self.name}:{key.start_mark.line + 1}"
        return value

    def merged(self, node: Node, place: Place, above: frozenset[int]) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            line = node.start_mark.line + 1
            raise AccordError("'<<' needs a mapping", f"{self.name}:{line}")
        return self.build(node, place, above)

    def key(self, node: Node, place: Place, own: set[str]) -> str:
        where = f"{self.name}:{node.start_mark.line + 1}"
        if not isinstance(node, ScalarNode):
            raise AccordError("a key must be a single word", where)
        if node.value in own:
            path = (*place, node.value)
            raise AccordError(
                f"key '{node.value}' is written twice",
                f"{where}, {dotted(path)}",
                f"delete one of them; the first is at {self.origins[path]}",
            )
        return node.value

    def scalar(self, node: Node, line: int) -> Any:
        text, lower = node.value, node.value.lower()
        try:
            match node.tag.rpartition(":")[2]:
                case "null":
                    return None
                case "bool":
                    return lower == "true"
                case "int":
                    return int(text, 16 if lower.startswith("0x") else 10)
                case "float":
                    return float(re.sub(r"\.(?=(inf|nan)$)", "", lower))
        except ValueError:
            raise AccordError(f"'{text}' is not a number", f"{self.name}:{line}") from None
        return text

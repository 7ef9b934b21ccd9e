"""The package index pip is configured with, asked for the files of one version; runs no package.

The index's address is pip's own (environment, configuration file, built-in default): no host
stands here. Sources: PEP 503 and PEP 691 (simple API), PEP 592 (yanked files).
"""

import ast
import base64
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from accord.errors import AccordError

TIMEOUT = 60
"""Seconds without an answer before a server counts as unreachable."""

_DEFAULT_INDEX = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
_JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Link:
    """One file that an index offers; `yanked` is the reason, or none."""

    filename: str
    url: str
    sha256: str | None
    yanked: str | None = None


@dataclass(frozen=True)
class PipSettings:
    """What pip would use: index addresses in order, and a certificate bundle or none."""

    indexes: tuple[str, ...]
    cert: str | None


def pip_settings(environ: Mapping[str, str]) -> PipSettings:
    """Ask pip for its index addresses and certificates; the environment comes first, as in pip.

    Raises:
        AccordError: pip is absent and the environment names no index.
    """
    configured = _pip_config(environ)
    main = environ.get("PIP_INDEX_URL") or configured.get("index-url")
    extra = environ.get("PIP_EXTRA_INDEX_URL") or configured.get("extra-index-url") or ""
    main = main or _ask([sys.executable, "-c", _DEFAULT_INDEX], environ).strip()
    if not main:
        raise AccordError(
            "No package index is known: this Python has no pip.",
            "",
            "set PIP_INDEX_URL, or install pip: python -m ensurepip",
        )
    cert = environ.get("PIP_CERT") or environ.get("SSL_CERT_FILE") or configured.get("cert")
    # local indexes cost nothing to ask, so they are asked first
    indexes = sorted((main, *extra.split()), key=lambda url: not url.startswith("file:"))
    return PipSettings(tuple(indexes), cert)


def links(settings: PipSettings, project: str) -> list[Link]:
    """Every file the configured indexes offer for a project; empty where none knows it.

    Raises:
        AccordError: No index could be reached.
    """
    found: list[Link] = []
    failures: list[str] = []
    answered = False
    for index in settings.indexes:
        url = f"{index.rstrip('/')}/{normalized(project)}/"
        try:
            found += _page(url, settings)
            answered = True
        except FileNotFoundError:
            # a local index without the project says nothing of the others
            answered = answered or not index.startswith("file:")
        except (OSError, ValueError) as error:
            failures.append(f"{_public(index)}: {getattr(error, 'reason', error)}")
    if failures and not found:
        raise AccordError(
            f"The package index cannot be reached: {'; '.join(failures)}.",
            project,
            "connect to a network, or set PIP_INDEX_URL to an index that can be reached",
        )
    return found


def opened(url: str, settings: PipSettings) -> Any:
    """A response to GET, with pip's certificates and the address's own user and password.

    Raises:
        FileNotFoundError: The server or folder has no such file.
        OSError: It cannot be reached.
    """
    parts = urlsplit(url)
    headers = {"Accept": f"{_JSON}, text/html;q=0.5, */*;q=0.1"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    context = None
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=settings.cert)
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.urlopen(request, timeout=TIMEOUT, context=context)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            raise FileNotFoundError(_public(url)) from None
        raise
    except urllib.error.URLError as error:
        if isinstance(error.reason, FileNotFoundError) or parts.scheme == "file":
            raise FileNotFoundError(_public(url)) from None
        raise


def normalized(project: str) -> str:
    """A project's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", project).lower()


def version_of(filename: str, project: str) -> str | None:
    """The version in the name of a wheel or sdist of `project`; none for other files."""
    if filename.endswith(".whl"):
        name, _, rest = filename.partition("-")
        version = rest.partition("-")[0]
        return version if normalized(name) == normalized(project) else None
    for ending in (".tar.gz", ".zip", ".tar.bz2"):
        name, _, version = filename.removesuffix(ending).rpartition("-")
        if filename.endswith(ending) and normalized(name) == normalized(project):
            return version
    return None


def _page(url: str, settings: PipSettings) -> list[Link]:
    asked = url + "index.html" if url.startswith("file:") else url
    with opened(asked, settings) as response:
        kind = response.headers.get("Content-Type", "")
        text = response.read().decode("utf-8", "replace")
        base = asked if url.startswith("file:") else _with_user(response.url, url)
    found = _from_json(text, base) if kind.startswith(_JSON) else _from_html(text, base)
    remote = not url.startswith("file:")
    # a server has no business pointing at this machine's files
    return [link for link in found if not (remote and urlsplit(link.url).scheme == "file")]


def _from_json(text: str, base: str) -> list[Link]:
    return [
        Link(
            entry["filename"],
            urljoin(base, entry["url"]),
            entry.get("hashes", {}).get("sha256"),
            None if not entry.get("yanked") else str(entry["yanked"]),
        )
        for entry in json.loads(text)["files"]
    ]


class _Anchors(HTMLParser):
    """Collects the links of a simple page."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base, self.found = base, list[Link]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag != "a" or not (href := named.get("href")):
            return
        url, fragment = urldefrag(urljoin(self.base, href))
        sha256 = fragment.partition("sha256=")[2] or None
        yanked = (named["data-yanked"] or "no reason given") if "data-yanked" in named else None
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        self.found.append(Link(filename, url, sha256, yanked))


def _from_html(text: str, base: str) -> list[Link]:
    anchors = _Anchors(base)
    anchors.feed(text)
    return anchors.found


def _with_user(url: str, original: str) -> str:
    """The address with the user of the original, for links on the same host."""
    host, user = urlsplit(original).netloc.rpartition("@")[2], urlsplit(original).netloc
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=user)) if parts.netloc == host else url


def _public(url: str) -> str:
    """An address without user and password, fit for a message."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _pip_config(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's configuration files as key and value; a command's section outranks `global`."""
    lines = _ask([sys.executable, "-m", "pip", "config", "list"], environ).splitlines()
    pairs = [line.partition("=")[::2] for line in sorted(lines) if "=" in line]
    sections = ("global.", "download.", "install.")
    return {
        key.partition(".")[2]: str(ast.literal_eval(value))
        for section in sections
        for key, value in pairs
        if key.startswith(section)
    }


def _ask(command: list[str], environ: Mapping[str, str]) -> str:
    """What a short command prints; empty where it fails (no pip in this environment)."""
    quiet = {**os.environ, **environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""

"""Package sources: the pinned archive and no other, read without running any of it."""

import hashlib
import io
import json
import os
import stat
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from accord.config.data import SourceConfig
from accord.data import index, pypi
from accord.data.archive import read_member
from accord.data.index import Link, PipSettings, links, pip_settings, version_of
from accord.data.pypi import PackageFile, default_cache, fetch, read
from accord.data.rawfile import RawRow
from accord.data.sources import read as read_source
from accord.errors import AccordError

FILE = PackageFile.parse("Demo.Data==1.0!data/rows.txt")


def tar_of(members: dict[str, bytes], links_to: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links_to or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


SDIST = tar_of(
    {
        "demo_data-1.0/setup.py": b"raise SystemExit('package code was run')",
        "demo_data-1.0/data/rows.txt": b"1\tone\n2\ttwo\n",
        "demo_data-1.0/data/inner.tar.gz": tar_of({"inner/deep.txt": b"deep", "x": b"y"}),
    }
)
PIN = hashlib.sha256(SDIST).hexdigest()


def lay_index(folder: Path, files: dict[str, bytes], *, hashes: bool = True, yanked="") -> str:
    """A PEP 503 index of the project demo-data in a folder; returns its address."""
    page = folder / "simple" / "demo-data"
    page.mkdir(parents=True, exist_ok=True)
    (folder / "files").mkdir(exist_ok=True)
    anchors = []
    for name, data in files.items():
        (folder / "files" / name).write_bytes(data)
        fragment = f"#sha256={hashlib.sha256(data).hexdigest()}" if hashes else ""
        mark = f' data-yanked="{yanked}"' if yanked else ""
        anchors.append(f'<a href="../../files/{name}{fragment}"{mark}>{name}</a>')
    (page / "index.html").write_text(f"<html><body>{''.join(anchors)}</body></html>")
    return (folder / "simple").as_uri()


@pytest.fixture
def use(monkeypatch):
    """Make the package source ask these indexes alone."""

    def use(*urls: str) -> None:
        monkeypatch.setattr(pypi, "pip_settings", lambda _: PipSettings(urls, None))

    return use


@pytest.fixture
def serve():
    """Serve requests of a handler on this machine; returns the address."""
    servers: list[ThreadingHTTPServer] = []

    def serve(handler) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None: ...


def answers(replies: dict[str, tuple[str, bytes]], seen: list):
    """A handler that gives each path its content type and body, 404 for others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            kind, body = replies.get(self.path, ("", b""))
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None: ...

    return Handler


def test_a_local_index_is_read_once_and_cached(tmp_path, use) -> None:
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}))
    assert read(FILE, PIN, tmp_path / "cache") == b"1\tone\n2\ttwo\n"
    assert [p.name for p in (tmp_path / "cache/pypi" / PIN).iterdir()] == ["demo_data-1.0.tar.gz"]
    use()  # no index left: only the cache can answer
    assert read(FILE, f"sha256:{PIN.upper()}", tmp_path / "cache") == b"1\tone\n2\ttwo\n"


def test_rows_out_of_a_package_carry_its_name(tmp_path, use) -> None:
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}))
    name = "pypi:demo-data==1.0!data/rows.txt"
    source = SourceConfig(source=name, sha256=PIN, columns=("id", "text"))
    assert list(read_source(source, tmp_path / "c"))[1] == RawRow(
        {"id": "2", "text": "two"}, f"{name}:2"
    )


def test_an_archive_inside_the_archive(tmp_path, use) -> None:
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}))
    for path in ("inner/deep.txt", "x"):
        file = PackageFile.parse(f"demo-data==1.0!data/inner.tar.gz!{path}")
        assert read(file, PIN, tmp_path / "c") in (b"deep", b"y")


def test_an_index_over_http(tmp_path, use, serve) -> None:
    lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST})
    use(serve(partial(Quiet, directory=str(tmp_path))) + "/simple")
    assert read(FILE, PIN, tmp_path / "c") == b"1\tone\n2\ttwo\n"


def test_a_json_index_with_a_password_that_no_message_shows(tmp_path, use, serve) -> None:
    page = {
        "files": [
            {
                "filename": "demo_data-1.0.tar.gz",
                "url": "../../files/d.tar.gz",
                "hashes": {"sha256": PIN},
                "yanked": False,
            }
        ]
    }
    replies = {
        "/simple/demo-data/": ("application/vnd.pypi.simple.v1+json", json.dumps(page).encode()),
        "/files/d.tar.gz": ("application/gzip", SDIST),
    }
    seen: list = []
    host = serve(answers(replies, seen)).removeprefix("http://")
    use(f"http://me:s3cret@{host}/simple")
    assert read(FILE, PIN, tmp_path / "c")
    assert seen == [(path, "Basic bWU6czNjcmV0") for path in replies]
    with pytest.raises(AccordError) as caught:
        links(PipSettings(("http://me:s3cret@127.0.0.1:1/simple",), None), "demo-data")
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1:1/simple" in caught.value.what


def test_a_download_cut_short_leaves_nothing(tmp_path, use, serve) -> None:
    class Short(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f'<a href="/f/demo_data-1.0.tar.gz#sha256={PIN}">x</a>'.encode()
            body = SDIST[:100] if self.path.startswith("/f/") else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            extra = 50 if self.path.startswith("/f/") else 0
            self.send_header("Content-Length", str(len(body) + extra))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None: ...

    use(serve(Short))
    with pytest.raises(AccordError, match=r"Downloading demo_data-1\.0\.tar\.gz failed"):
        read(FILE, PIN, tmp_path / "c")
    assert [p for p in (tmp_path / "c").rglob("*") if p.is_file()] == []


def test_a_server_may_not_point_at_local_files(tmp_path, use, serve) -> None:
    (tmp_path / "demo_data-1.0.tar.gz").write_bytes(SDIST)
    href = (tmp_path / "demo_data-1.0.tar.gz").as_uri()
    page = f'<a href="{href}#sha256={PIN}">x</a>'.encode()
    use(serve(answers({"/demo-data/": ("text/html", page)}, [])))
    with pytest.raises(AccordError, match=r"has no project 'Demo\.Data'"):
        read(FILE, PIN, tmp_path / "c")


def test_a_missing_pin_prints_the_one_to_add(tmp_path, use) -> None:
    for hashes in (True, False):
        use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}, hashes=hashes))
        with pytest.raises(AccordError) as caught:
            read(FILE, None, tmp_path / "c")
        assert caught.value.fix == f"add sha256: {PIN}"
    with pytest.raises(AccordError, match="is not a SHA-256"):
        read(FILE, "abc", tmp_path / "c")


def test_another_hash_is_refused(tmp_path, use) -> None:
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}))
    with pytest.raises(AccordError, match=r"No file of Demo\.Data==1\.0 has SHA-256 000") as caught:
        read(FILE, "0" * 64, tmp_path / "c")
    assert PIN in caught.value.fix
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}, hashes=False))
    with pytest.raises(AccordError, match=rf"has SHA-256 {PIN}, expected 000"):
        read(FILE, "0" * 64, tmp_path / "c")


def test_an_index_that_lies_about_a_hash_is_caught(tmp_path, use) -> None:
    url = lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST})
    (tmp_path / "files/demo_data-1.0.tar.gz").write_bytes(b"other")
    use(url)
    with pytest.raises(AccordError, match=f"expected {PIN}"):
        read(FILE, PIN, tmp_path / "c")
    assert [p for p in (tmp_path / "c").rglob("*") if p.is_file()] == []


def test_a_cached_file_that_rotted_is_fetched_again(tmp_path, use) -> None:
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}))
    fetch(FILE, PIN, tmp_path / "c").write_bytes(b"rot")
    assert read(FILE, PIN, tmp_path / "c") == b"1\tone\n2\ttwo\n"


def test_many_at_once_end_in_one_file(tmp_path, use) -> None:
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}))
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: read(FILE, PIN, tmp_path / "c"), range(16)))
    assert set(got) == {b"1\tone\n2\ttwo\n"}
    assert [p.name for p in (tmp_path / "c/pypi" / PIN).iterdir()] == ["demo_data-1.0.tar.gz"]


def test_unknown_project_and_version(tmp_path, use) -> None:
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST, "demo_data-1.2.tar.gz": b"x"}))
    with pytest.raises(AccordError, match=r"has no version 1\.22\.\n.*\n.*did you mean '1\.2'"):
        read(PackageFile.parse("demo-data==1.22!x"), PIN, tmp_path / "c")
    with pytest.raises(AccordError, match="no project 'nothing'"):
        read(PackageFile.parse("nothing==1!x"), PIN, tmp_path / "c")
    with pytest.raises(AccordError, match="does not name a file in a package"):
        PackageFile.parse("demo-data!x")


def test_offline_says_so_unless_another_index_has_it(tmp_path, use) -> None:
    nowhere = "http://127.0.0.1:1/simple"
    use(nowhere)
    with pytest.raises(AccordError, match="The package index cannot be reached") as caught:
        read(FILE, PIN, tmp_path / "c")
    assert "PIP_INDEX_URL" in caught.value.fix
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}), nowhere)
    assert read(FILE, PIN, tmp_path / "c")


def test_a_withdrawn_release_is_read_with_a_note(tmp_path, use, capsys) -> None:
    use(lay_index(tmp_path, {"demo_data-1.0.tar.gz": SDIST}, yanked="broken wheel"))
    assert read(FILE, PIN, tmp_path / "c")
    err = capsys.readouterr().err
    assert "Demo.Data==1.0 was withdrawn by its authors: broken wheel" in err
    assert "downloading demo_data-1.0.tar.gz (0.0 MB)" in err


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("demo_data-1.0-py3-none-any.whl", "1.0"),
        ("Demo.Data-1.0.post1.tar.gz", "1.0.post1"),
        ("demo-data-2.zip", "2"),
        ("demo_data_extra-1.0.tar.gz", None),
        ("demo_data-1.0.exe", None),
    ],
)
def test_versions_in_file_names(filename, version) -> None:
    assert version_of(filename, "demo-data") == version


def test_settings_are_pips_own(tmp_path, monkeypatch) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = http://g/simple\nextra-index-url =\n  file:///e\n  http://e\n"
        "cert = /c.pem\n[install]\nindex-url = http://i/simple\n"
    )
    for name in [n for n in os.environ if n.startswith("PIP_")] + ["SSL_CERT_FILE"]:
        monkeypatch.delenv(name, raising=False)
    alone = {"PIP_CONFIG_FILE": str(config), "HOME": str(tmp_path)}
    found = pip_settings(alone)
    assert found.indexes == ("file:///e", "http://i/simple", "http://e")
    assert found.cert == "/c.pem"
    found = pip_settings(alone | {"PIP_INDEX_URL": "http://env", "SSL_CERT_FILE": "/s.pem"})
    assert found.indexes == ("file:///e", "http://env", "http://e")
    assert found.cert == "/s.pem"


def test_the_default_index_is_asked_of_pip_and_its_absence_told(monkeypatch) -> None:
    monkeypatch.setattr(index, "_pip_config", lambda _: {})
    assert pip_settings({}).indexes[0].endswith("/simple")
    monkeypatch.setattr(index, "_ask", lambda *_: "")
    with pytest.raises(AccordError, match="this Python has no pip"):
        pip_settings({})


def test_where_the_cache_stands() -> None:
    assert default_cache({"ACCORD_CACHE": "/x"}) == Path("/x")
    assert default_cache({"XDG_CACHE_HOME": "/y"}) == Path("/y/accord")
    assert default_cache({}) == Path("~/.cache/accord").expanduser()


def write_archive(folder: Path, data: bytes, name: str = "a.tar.gz") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_links_in_archives_are_not_followed(tmp_path) -> None:
    (tmp_path / "secret").write_text("s")
    archive = write_archive(
        tmp_path, tar_of({"x": b"y"}, {"l": str(tmp_path / "secret"), "m": "x"})
    )
    for name in ("l", "m"):
        with pytest.raises(AccordError, match=f"'{name}' is not a plain file"):
            read_member(archive, (name,))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        info = zipfile.ZipInfo("l")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(info, "/etc/passwd")
        zipped.writestr("d/plain", "p")
    assert read_member(tmp_path / "a.zip", ("d/plain",)) == b"p"
    with pytest.raises(AccordError, match="'l' is not a plain file"):
        read_member(tmp_path / "a.zip", ("l",))


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", ""])
def test_paths_that_leave_the_archive_are_refused(tmp_path, path) -> None:
    with pytest.raises(AccordError, match="is not a path inside an archive"):
        read_member(write_archive(tmp_path, tar_of({"x": b"y"})), (path,))


def test_a_missing_member_has_a_suggestion(tmp_path) -> None:
    archive = write_archive(tmp_path, SDIST)
    with pytest.raises(AccordError, match=r"did you mean 'demo_data-1\.0/data/rows\.txt'\?"):
        read_member(archive, ("data/row.txt",))
    with pytest.raises(AccordError, match=r"it holds: demo_data-1\.0/data/rows\.txt$"):
        read_member(archive, ("qq.txt",))


def test_what_is_no_archive_or_unpacks_too_far_is_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(AccordError, match="Not a whole zip or tar archive"):
        read_member(write_archive(tmp_path, b"plain"), ("x",))
    with pytest.raises(AccordError, match="Not a whole zip or tar archive"):
        read_member(write_archive(tmp_path, SDIST[:80]), ("data/rows.txt",))
    monkeypatch.setattr("accord.data.archive.MAX_MEMBER", 5)
    with pytest.raises(AccordError, match="'x' unpacks to more than"):
        read_member(write_archive(tmp_path, tar_of({"x": b"123456"})), ("x",))


def test_a_hostile_file_name_is_refused(tmp_path) -> None:
    link = Link("../evil.tar.gz", "file:///x", None)
    with pytest.raises(AccordError, match="is not a file name"):
        pypi._download(link, tmp_path, PipSettings((), None))


@pytest.mark.slow
def test_a_real_release_from_the_configured_index(tmp_path) -> None:
    file = PackageFile.parse(
        "vaderSentiment==3.3.2!additional_resources/hutto_ICWSM_2014.tar.gz"
        "!hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
    )
    pin = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
    assert read(file, pin, tmp_path).count(b"\n") == 10_604

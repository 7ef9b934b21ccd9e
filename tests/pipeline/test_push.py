"""`accord push`: what would go, what may not, and what is asked of the hub."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from accord.cli.main import app
from accord.errors import AccordError
from accord.pipeline.push import push, upload_of


class StandIn:
    """The hub's API, writing down what it is asked."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal, self.asked = refusal, []

    def whoami(self) -> dict[str, str]:
        if self.refusal:
            raise self.refusal
        return {"name": "me"}

    def create_repo(self, name: str, **said: Any) -> None:
        self.asked.append(("create", name, said))

    def upload_folder(self, **said: Any) -> None:
        self.asked.append(("upload", said["repo_id"], said))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "accord").mkdir(parents=True)
    (made / "accord" / "stage.json").write_text("{}")
    for name, text in {"config.json": "{}", "README.md": "---\nlicense: mit\n---\n# a\n"}.items():
        (made / name).write_text(text)
    (made / "model.safetensors").write_bytes(b"\0" * 1234567)
    return made


def test_the_models_own_files_are_uploaded_and_the_record_stays(folder: Path) -> None:
    api = StandIn()
    upload = upload_of(folder)
    assert push(upload, "me/a", True, api) == "hub:me/a"
    (create, upload_call) = api.asked
    assert create == ("create", "me/a", {"private": True, "exist_ok": True})
    assert upload_call[2]["allow_patterns"] == ["README.md", "config.json", "model.safetensors"]
    assert "  model.safetensors        1,234,567" in upload.lines()
    assert upload.lines()[-1].endswith("1,234,594")


def test_without_a_login_it_says_how(folder: Path) -> None:
    api = StandIn(OSError("Token is required\nmore"))
    with pytest.raises(AccordError, match="not uploaded: Token is required") as caught:
        push(upload_of(folder), "me/a", False, api)
    assert "hf auth login" in caught.value.fix and not api.asked


@pytest.mark.parametrize("name", ["a", "a/", "/a", "a/b/c", ""])
def test_a_name_without_an_owner_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(AccordError, match="no name of a model"):
        push(upload_of(folder), name, False, StandIn())


def test_a_folder_without_card_or_with_checkpoints_is_refused(folder: Path) -> None:
    (folder / "accord" / "checkpoints" / "step-1").mkdir(parents=True)
    assert len(upload_of(folder).files) == 3  # Accord's own are never among the files
    (folder / "checkpoint-500").mkdir()
    with pytest.raises(AccordError, match="holds checkpoint-500 of a training run"):
        upload_of(folder)
    (folder / "README.md").write_text("# no front matter\n")
    with pytest.raises(AccordError, match="no model card"):
        upload_of(folder)
    (folder / "config.json").unlink()
    with pytest.raises(AccordError, match="holds no model"):
        upload_of(folder)


def test_the_command_asks_before_anything_is_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = StandIn()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    said = CliRunner().invoke(app, ["push", str(folder), "me/a"], input="n\n")
    assert said.exit_code == 1 and "upload to me/a?" in said.output and not api.asked
    said = CliRunner().invoke(app, ["push", str(folder), "me/a", "--yes"])
    assert said.exit_code == 0 and [call[0] for call in api.asked] == ["create", "upload"]

"""Hostile files, and what is asked to read each: data, model folders, archives, a run's state."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from battery.small import small_folder

CANARY = "canary"


class Bomb:
    """Touches the canary when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.canary = folder / CANARY

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def data_case(name: str, make: Callable[[Path], bytes], folder: Path) -> None:
    """Read a file as rows."""
    from accord.config.data import HeldoutConfig, SourceConfig
    from accord.data.account import Account
    from accord.data.load import load_rows

    (folder / name).write_bytes(make(folder))
    source = SourceConfig(source=name)
    load_rows([source], HeldoutConfig(fraction=0), "text", 1, Account(), folder, folder)


def pickled(folder: Path, protocol: int = 4) -> bytes:
    """A pickle that touches the canary."""
    return pickle.dumps(Bomb(folder), protocol)


def torch_saved(folder: Path) -> bytes:
    """The same as torch's own checkpoint."""
    import torch

    stream = io.BytesIO()
    torch.save({"weight": Bomb(folder)}, stream)
    return stream.getvalue()


def gzipped_zeros(folder: Path) -> bytes:
    """A gzip file a thousandth of what it unpacks to (1.1 GB)."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as file:
        file.write(b"[")
        for _ in range(1_100):
            file.write(b" " * 10**6)
    return stream.getvalue()


def model_case(plant: Callable[[Path], None], folder: Path) -> None:
    """Load a model folder in which something was planted."""
    from accord.checkpoint.folder import load_model
    from accord.text.chat import stop_ids
    from accord.text.tokenizer import Tokenizer

    model = small_folder(folder / "model")
    plant(model)
    load_model(model)
    stop_ids(Tokenizer.load(model))


def weights_as(name: str, make: Callable[[Path], bytes], model: Path) -> None:
    """Put a file in the place of the weights."""
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(make(model.parent))


def index_to(name: object, model: Path) -> None:
    """An index that says that weights lie elsewhere."""
    whole = model / "model.safetensors"
    whole.rename(model.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": name}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def linked(name: str, model: Path) -> None:
    """A file of the folder that is a link out of it."""
    (model / name).rename(model.parent / "outside")
    (model / name).symlink_to(model.parent / "outside")


def config_with(values: Mapping[str, Any], model: Path, name: str = "config.json") -> None:
    """Further keys in a JSON file of the folder, and the module that they name."""
    path = model / name
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(values)))
    (model / "modeling_evil.py").write_text(f"open({str(model.parent / CANARY)!r}, 'w')")


def header(text: bytes, body: bytes, length: int | None, model: Path) -> None:
    """Weights with this safetensors header."""
    size = len(text) if length is None else length
    (model / "model.safetensors").write_bytes(struct.pack("<Q", size) + text + body)


def _tensors(*spans: tuple[int, int], shape: int = 4) -> bytes:
    entry = {"dtype": "F32", "shape": [shape]}
    return json.dumps(
        {f"t{i}": entry | {"data_offsets": list(span)} for i, span in enumerate(spans)}
    ).encode()


def adapter_pickled(model: Path) -> None:
    """An adapter whose factors are a pickle."""
    for path in model.glob("model.safetensors"):
        path.unlink()
    base = small_folder(model.parent / "base")
    (model / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "base_model_name_or_path": str(base)})
    )
    (model / "adapter_model.bin").write_bytes(pickled(model.parent))


def distributed(model: Path) -> None:
    """A distributed checkpoint: metadata that is a pickle, beside shards."""
    (model / "model.safetensors").unlink()
    (model / ".metadata").write_bytes(pickled(model.parent))
    (model / "__0_0.distcp").write_bytes(torch_saved(model.parent))


def state_case(folder: Path) -> None:
    """A run's checkpoint whose state was swapped for a pickle under the manifest's own name."""
    import torch

    from accord.checkpoint.store import Store
    from accord.errors import AccordError

    said: list[str] = []
    store = Store(folder / "checkpoints", 2, said.append)
    store.save(1, {"weight": torch.zeros(2)}, {"step": 1})
    target = next(path for path in (folder / "checkpoints").rglob("*.safetensors"))
    target.write_bytes(pickled(folder))
    if store.latest() is None and said:
        raise AccordError(said[0], str(folder))  # a warning, and no older one to fall back to


def archive_case(make: Callable[[Path], Path], member: str, folder: Path) -> None:
    """Read a member of an archive, as `pypi:` sources do."""
    from accord.data.archive import read_member

    read_member(make(folder), (member,))


def tar_with(name: str, kind: bytes, target: str, folder: Path) -> Path:
    """A tar archive with one odd member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.addfile(info)
    return folder / "a.tar"


def zip_link(folder: Path) -> Path:
    """A zip archive whose member is a link."""
    info = zipfile.ZipInfo("data.txt")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "a.zip", "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    return folder / "a.zip"


def zip_bomb(folder: Path) -> Path:
    """A megabyte of zip that unpacks to 1.1 GB."""
    path = folder / "a.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped,
        zipped.open("data.txt", "w") as member,
    ):
        for _ in range(1_100):
            member.write(bytes(10**6))
    return path


def tar_bomb(folder: Path) -> Path:
    """A tar archive whose first member says that it has ten thousand million bytes."""
    info = tarfile.TarInfo("first.txt")
    info.size = 10**10
    (folder / "a.tar").write_bytes(info.tobuf() + bytes(1024))
    return folder / "a.tar"


LEFT_ALONE = {"auto_map of a tokenizer"}
"""Cases in which the hostile part is not needed, and not touched."""


def cases() -> dict[str, Callable[[Path], None]]:
    """Every case by name; each gets an empty folder."""
    return {
        **{name: partial(data_case, *case) for name, case in _data().items()},
        **{name: partial(model_case, plant) for name, plant in _planted().items()},
        **{name: partial(model_case, plant) for name, plant in _headers().items()},
        "a run's state": state_case,
        **{name: partial(archive_case, *case) for name, case in _archives().items()},
    }


def _data() -> dict[str, tuple[str, Callable[[Path], bytes]]]:
    found: dict[str, tuple[str, Callable[[Path], bytes]]] = {
        "a pickle": ("a.pkl", pickled),
        "torch's checkpoint as data": ("a.pt", torch_saved),
        "a pickled .bin as data": ("a.bin", pickled),
        "torch's checkpoint named .jsonl": ("a.jsonl", torch_saved),
        "a pickle named .parquet": ("a.parquet", pickled),
        "a gzip bomb of an array": ("a.json.gz", gzipped_zeros),
        "a gzip bomb of a line": ("a.jsonl.gz", gzipped_zeros),
    }
    for protocol in range(6):
        found[f"a pickle of protocol {protocol} named .jsonl"] = (
            "a.jsonl",
            partial(pickled, protocol=protocol),
        )
    return found


def _planted() -> dict[str, Callable[[Path], None]]:
    plants: dict[str, Callable[[Path], None]] = {
        "pickled weights": partial(weights_as, "pytorch_model.bin", torch_saved),
        "a pickle as .pt": partial(weights_as, "model.pt", pickled),
        "a pickle named safetensors": partial(weights_as, "model.safetensors", pickled),
        "torch's checkpoint named safetensors": partial(
            weights_as, "model.safetensors", torch_saved
        ),
        "a pickled adapter": adapter_pickled,
        "a distributed checkpoint": distributed,
        "auto_map of a model": partial(
            config_with, {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}
        ),
        "auto_map of a tokenizer": partial(
            config_with,
            {"auto_map": {"AutoTokenizer": ["modeling_evil.Evil", None]}},
            name="tokenizer_config.json",
        ),
        "an index to ../": partial(index_to, "../outside.safetensors"),
        "an index to a pickle": partial(index_to, "pytorch_model.bin"),
        "an index to a folder": partial(index_to, "sub/model.safetensors"),
        "an index to a number": partial(index_to, 3),
        "a thousand million layers": partial(config_with, {"num_hidden_layers": 10**9}),
        "a width of 2^62": partial(config_with, {"hidden_size": 2**62, "head_dim": 2**40}),
        "config.json 100,000 deep": lambda model: (
            (model / "config.json").write_text('{"a":' * 100_000) and None
        ),
    }
    plants["an index to an absolute path"] = lambda model: index_to(
        str(model.parent / "outside.safetensors"), model
    )
    for name in ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"):
        plants[f"{name} a link out of the folder"] = partial(linked, name)
    return plants


def _headers() -> dict[str, Callable[[Path], None]]:
    return {
        "a header of 2^63 bytes": partial(header, b"{}", b"", 2**63),
        "a header of 4 GB": partial(header, b"{}", b"", 2**32),
        "a header that is no JSON": partial(header, b"not JSON", b"", None),
        "a header 100,000 deep": partial(header, b'{"a":' * 100_000, b"", None),
        "tensors that overlap": partial(header, _tensors((0, 16), (8, 24)), bytes(24), None),
        "a tensor past the end": partial(header, _tensors((0, 16)), bytes(8), None),
        "a tensor of 2^62 elements": partial(
            header, _tensors((0, 16), shape=2**62), bytes(16), None
        ),
        "a tensor that ends before it begins": partial(header, _tensors((16, 0)), bytes(16), None),
    }


def _archives() -> dict[str, tuple[Callable[[Path], Path], str]]:
    return {
        "a member ../": (partial(tar_with, "../a", tarfile.REGTYPE, ""), "../a"),
        "a member of an absolute path": (partial(tar_with, "/a", tarfile.REGTYPE, ""), "/a"),
        "a member that is a link": (partial(tar_with, "a", tarfile.SYMTYPE, "/etc/passwd"), "a"),
        "a hard link": (partial(tar_with, "a", tarfile.LNKTYPE, "/etc/passwd"), "a"),
        "a device": (partial(tar_with, "a", tarfile.CHRTYPE, ""), "a"),
        "a link in a zip": (zip_link, "data.txt"),
        "a zip bomb": (zip_bomb, "data.txt"),
        "a tar bomb": (tar_bomb, "second.txt"),
    }

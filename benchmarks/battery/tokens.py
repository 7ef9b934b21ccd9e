"""Control tokens in what users write, and tokenizers made to take for ever."""

import base64
import json
import resource
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from battery.row import Outcome, Row, Size
from battery.small import TEXTS

CONTROL = ("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|eot_id|>", "<s>", "</s>")
SECONDS, MEMORY_MB = 20.0, 1024
_TURN = "{{ m.role }}\n{{ m.content }}"
OWN: Mapping[str, str] = {
    # the shapes that families write turns in, each with its own marks
    "im": "{% for m in messages %}<|im_start|>" + _TURN + "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "headers": "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}"
    "<|start_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|start_header_id|>\n\n{% endif %}",
    "brackets": "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    " {{ m.content }}</s>{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}",
    "turns": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>"
    "{% generation %}{% endgeneration %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
}


def json_folder(folder: Path) -> Path:
    """A tokenizer.json trained here."""
    from accord.text.folder import SpecialTokens
    from accord.text.tokenizer import Tokenizer

    more = ("<|end_header_id|>",)
    made = Tokenizer.train(TEXTS, 300, end_token="</s>", special_tokens=(*CONTROL[:-1], *more))
    Tokenizer(made._core, SpecialTokens("</s>", "<|pad|>", "<s>")).save(folder)
    return folder


def ranks_folder(folder: Path) -> Path:
    """tiktoken's ranks: the 256 bytes."""
    folder.mkdir()
    ranks = [f"{base64.b64encode(bytes([b])).decode()} {b}" for b in range(256)]
    (folder / "cl100k_base.tiktoken").write_text("\n".join(ranks))
    added = [*CONTROL, "<|end_header_id|>"]
    config = {
        "eos_token": "</s>",
        "bos_token": "<s>",
        "added_tokens_decoder": {str(256 + i): {"content": t} for i, t in enumerate(added)},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def piece_folder(folder: Path) -> Path:
    """A SentencePiece model of bytes and the printable characters, written by hand."""
    folder.mkdir()
    texts = [chr(c) for c in range(33, 127)] + ["▁"]
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
    pieces += [(f"<0x{b:02X}>", 6) for b in range(256)] + [(text, 1) for text in texts]
    data = b"".join(_field(1, _piece(text, kind)) for text, kind in pieces)
    # unigram, byte fallback; identity normaliser without a blank before the text
    trainer = _number(3, 1) + _number(35, 1)
    data += _field(2, trainer) + _field(3, _number(3, 0) + _number(4, 0))
    (folder / "tokenizer.model").write_bytes(data)
    added = [*CONTROL[:4], "<|end_header_id|>"]
    ids = {token: len(pieces) + i for i, token in enumerate(added)}
    (folder / "added_tokens.json").write_text(json.dumps(ids))
    return folder


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _piece(text: str, kind: int) -> bytes:
    score = _varint(2 << 3 | 5) + struct.pack("<f", -1.0)
    return _field(1, text.encode()) + score + _number(3, kind)


READERS: Mapping[str, Callable[[Path], Path]] = {
    "tokenizer.json": json_folder,
    "tiktoken": ranks_folder,
    "SentencePiece": piece_folder,
}


def control_tokens(folder: Path, size: Size) -> Outcome:
    """Every control token in every role, under every template, by every reader."""
    from accord.text.templates import TEMPLATES
    from accord.text.tokenizer import Tokenizer

    failed: dict[str, str] = {}
    count = 0
    for reader, make in READERS.items():
        tokenizer = Tokenizer.load(make(folder / reader))
        for name in (*TEMPLATES, *OWN):
            template = OWN.get(name, name)
            for token in CONTROL:
                count += 1
                wrong = taken_for_control(tokenizer, template, token)
                if wrong:
                    failed[f"{reader}, {name}, {token}"] = wrong
    figure = (
        f"{count - len(failed)} of {count} encoded as text ({len(READERS)} readers, "
        f"{len(TEMPLATES)} built-in and {len(OWN)} families' templates, {len(CONTROL)} tokens)"
    )
    return Outcome(not failed, figure, {"failed": failed})


def taken_for_control(tokenizer: Any, template: str, token: str) -> str:
    """What is wrong with a conversation that has the token in every content; empty: nothing."""
    from accord.text.chat import prompt_ids, render
    from accord.text.messages import Message

    counts = []
    for said in ("word", f"a{token}b", token, f"{token}{token}"):
        talk = (Message("user", said), Message("assistant", said))
        ids = render(talk, tokenizer, template, "all").ids
        prompt = prompt_ids(talk[:1], tokenizer, template)
        counts.append([sum(i in tokenizer.control_ids for i in part) for part in (ids, prompt)])
        encoded = tokenizer.encode(said)
        if tokenizer.control_ids.intersection(encoded):
            return f"encode({said!r}) gives a control token"
        if tokenizer.decode(encoded) != said:
            return f"{said!r} comes back as {tokenizer.decode(encoded)!r}"
    return "" if all(c == counts[0] for c in counts) else f"control tokens differ: {counts}"


def bomb(folder: Path, change: Callable[[dict[str, Any]], object], text: str) -> str:
    """What reading a changed tokenizer.json and encoding a text with it was refused with."""
    from accord.errors import AccordError
    from accord.text.tokenizer import Tokenizer

    path = json_folder(folder) / "tokenizer.json"
    tree = json.loads(path.read_text())
    changed = change(tree)
    path.write_text(changed if isinstance(changed, str) else json.dumps(tree))
    try:
        Tokenizer.load(folder).encode(text)
    except AccordError as error:
        return error.what
    return ""


def _split(pattern: str) -> Callable[[dict[str, Any]], object]:
    def change(tree: dict[str, Any]) -> None:
        tree["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": pattern}

    return change


def _added(count: int) -> Callable[[dict[str, Any]], object]:
    def change(tree: dict[str, Any]) -> None:
        first, more = tree["added_tokens"][0], len(tree["added_tokens"]) + 10_000
        flags = {key: value for key, value in first.items() if key not in ("id", "content")}
        tree["added_tokens"] += [
            {"id": more + i, "content": f"<{i}>", **flags} for i in range(count)
        ]

    return change


def _long(tree: dict[str, Any]) -> None:
    tree["model"]["vocab"]["x" * 10**6] = 9_999


MEGABYTE = 10**6
WORDS: Mapping[str, str] = {
    "a word of 1 MB": "a" * MEGABYTE,
    "words of 1 MB without a blank": "ab1!" * (MEGABYTE // 4),
    "blanks of 1 MB": " " * MEGABYTE,
    "line ends of 1 MB": "\r\n" * (MEGABYTE // 2),
    "marks of 1 MB": "!" * MEGABYTE,
    "Hangul of 1 MB": "한" * (MEGABYTE // 3),
}
BOMBS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "(a+)+$": _split(r"(a+)+$"),
    "(a|aa)+$": _split(r"(a|aa)+$"),
    "(a|a)*$": _split(r"(a|a)*$"),
    "a*a*a*[cd]": _split(r"a*a*a*[cd]"),
    "no regular expression": _split("("),
    "JSON 100,000 deep": lambda tree: '{"model":' * 100_000,
    "lists 100,000 deep": lambda tree: '{"added_tokens":' + "[" * 100_000,
    "a million added tokens": _added(10**6),
    "300,000 added tokens": _added(300_000),
    "a token of 1 MB": _long,
}


def tokenizer_bombs(folder: Path, size: Size) -> Outcome:
    """Long words are encoded, and files made to take for ever refused, within bounds."""
    failed: dict[str, str] = {}
    told: dict[str, str] = {}
    seconds: dict[str, float] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, (name, text) in enumerate(WORDS.items()):
        began = _spent()
        told[name] = bomb(folder / f"w{number}", lambda tree: None, text)
        seconds[name] = round(_spent() - began, 2)
        if told[name] or seconds[name] > SECONDS:
            failed[name] = f"{told[name]} after {seconds[name]} s"
    for number, (name, change) in enumerate(BOMBS.items()):
        began = _spent()
        told[name] = bomb(folder / f"b{number}", change, "a" * 40 + "b")
        seconds[name] = round(_spent() - began, 2)
        if not told[name] or seconds[name] > SECONDS:
            failed[name] = f"{told[name] or 'accepted'} after {seconds[name]} s"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    if grown > MEMORY_MB:
        failed["memory"] = f"{grown} MB"
    figure = (
        f"{len(WORDS)} words of 1 MB encoded, {len(BOMBS)} bombs refused, "
        f"{len(failed)} failed; at most {max(seconds.values()):.1f} s of CPU and {grown} MB"
    )
    return Outcome(not failed, figure, {"failed": failed, "told": told, "seconds": seconds})


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


ROWS: tuple[Row, ...] = (
    Row(
        "control-tokens",
        "control tokens inside what users write, in every template and by every reader",
        "encoded as text",
        control_tokens,
    ),
    Row(
        "tokenizer-bombs",
        "words of 1 MB, patterns that backtrack, JSON 100,000 deep, a million added tokens",
        "bounded time and memory, a clear error",
        tokenizer_bombs,
    ),
)

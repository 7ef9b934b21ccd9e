"""The tokenizer files of a Hugging Face folder: read any, write what AutoTokenizer reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from accord.errors import AccordError
from accord.text import tiktoken
from accord.text.confined import inside
from accord.text.core import read_core
from accord.text.sentencepiece import MODEL, converted, read
from accord.text.templates import name_of

_UNBOUNDED = int(1e30)  # transformers' own word for "no limit"


@dataclass(frozen=True)
class SpecialTokens:
    """Which tokens end, pad and begin a sequence, and what else the folder's config says."""

    end: str
    pad: str | None = None
    bos: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """`tokenizer_config.json` of the folder read; empty for a tokenizer trained here."""


def read_folder(folder: Path) -> tuple[tokenizers.Tokenizer, SpecialTokens, str | None]:
    """Tokenizer, special tokens and chat template (a format's name where the text is Accord's).

    Raises:
        AccordError: No `tokenizer.json`, a file that cannot be read, or no end token.
    """
    path = folder / "tokenizer.json"
    if not path.is_file() and (folder / MODEL).is_file():
        return _read_sentencepiece(folder)
    if not path.is_file() and (ranks := tiktoken.rank_file(folder)) is not None:
        return _read_ranks(folder, ranks)
    if not path.is_file():
        raise AccordError(
            "the folder holds no tokenizer.json" if folder.is_dir() else "no such folder",
            where=str(folder),
            fix="give a Hugging Face folder with a fast tokenizer, or a tokenizer stage's folder",
        )
    core = read_core(path)
    config = _read_json(folder / "tokenizer_config.json")
    named = {**_read_json(folder / "special_tokens_map.json"), **config}
    end = _content(named.get("eos_token"))
    if end is None:
        raise AccordError(
            "the tokenizer names no end token",
            where=str(folder / "tokenizer_config.json"),
            fix='add "eos_token": the token that ends a text',
        )
    bos, pad = _content(named.get("bos_token")), _content(named.get("pad_token"))
    return core, SpecialTokens(end, pad, bos, config), _chat_template(folder, config)


def _read_sentencepiece(folder: Path) -> tuple[tokenizers.Tokenizer, SpecialTokens, str | None]:
    """A folder whose tokenizer is SentencePiece's; the end token is its own or the config's."""
    model = read(folder / MODEL)
    config = _read_json(folder / "tokenizer_config.json")
    named = {**_read_json(folder / "special_tokens_map.json"), **config}
    tokens = {
        key: _content(named.get(f"{key}_token")) or model.special(which)
        for which, key in enumerate(("unk", "bos", "eos", "pad"))
    }
    core = converted(model)
    added = _read_json(folder / "added_tokens.json")
    # ids follow the order in which tokens are added
    if not all(isinstance(number, int) for number in added.values()):
        raise AccordError("an id is no number", str(folder / "added_tokens.json"), "mend it")
    for token in sorted(added, key=lambda token: added[token]):
        core.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False)])
        if core.token_to_id(token) != added[token]:
            raise AccordError(
                f"'{token}' has the id {core.token_to_id(token)}, not {added[token]}",
                str(folder / "added_tokens.json"),
                "give the tokenizer.json",
            )
    if tokens["eos"] is None:
        raise AccordError(
            "the tokenizer names no end token",
            str(folder / "tokenizer_config.json"),
            'add "eos_token": the token that ends a text',
        )
    special = SpecialTokens(tokens["eos"], tokens["pad"], tokens["bos"], config)
    return core, special, _chat_template(folder, config)


def _read_ranks(folder: Path, path: Path) -> tuple[tokenizers.Tokenizer, SpecialTokens, str | None]:
    """A folder whose tokenizer is tiktoken's or mistral-common's."""
    config = _read_json(folder / "tokenizer_config.json")
    core = tiktoken.converted(tiktoken.read(path, config))
    end = _content(config.get("eos_token"))
    if end is None:
        raise AccordError(
            "the tokenizer names no end token",
            str(folder / "tokenizer_config.json"),
            'add "eos_token": the token that ends a text',
        )
    bos, pad = _content(config.get("bos_token")), _content(config.get("pad_token"))
    kept = {key: value for key, value in config.items() if key != "pat_str"}
    return core, SpecialTokens(end, pad, bos, kept), _chat_template(folder, config)


def write_folder(
    folder: Path,
    core: tokenizers.Tokenizer,
    special: SpecialTokens,
    jinja: str | None,
    model_max_length: int | None,
) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, the template."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {"bos_token": special.bos, "eos_token": special.end, "pad_token": special.pad}
    named = {key: token for key, token in named.items() if token is not None}
    added = core.get_added_tokens_decoder()
    known = special.config.get("model_max_length", _UNBOUNDED)
    config = {
        "clean_up_tokenization_spaces": False,
        **{k: v for k, v in special.config.items() if k not in ("chat_template", "auto_map")},
        **named,
        # tokenizer.json says all: a class of a family's own would build its parts by rules
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": known if model_max_length is None else model_max_length,
        "added_tokens_decoder": {str(i): _added_token(t) for i, t in sorted(added.items())},
    }
    (folder / "tokenizer.json").write_text(core.to_str(pretty=True), encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", named)
    template = folder / "chat_template.jinja"
    if jinja is None:
        template.unlink(missing_ok=True)
    else:
        template.write_text(jinja, encoding="utf-8")


def _added_token(token: tokenizers.AddedToken) -> dict[str, Any]:
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {flag: getattr(token, flag) for flag in flags}


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    template = _read_text(path) if path.is_file() else config.get("chat_template")
    if isinstance(template, list):  # several by name: the one for chats is called default
        named = [t for t in template if isinstance(t, dict) and t.get("name") == "default"]
        template = named[0].get("template") if named else None
    if template is not None and not isinstance(template, str):
        raise AccordError(
            "chat_template is no text",
            str(folder / "tokenizer_config.json"),
            "write the Jinja text, or a list of {name, template}",
        )
    return name_of(template) if template else None


def _content(token: Any) -> str | None:
    """A special token is written as its text or as a mapping that holds it.

    Raises:
        AccordError: It is neither.
    """
    content = token.get("content") if isinstance(token, dict) else token
    if content is not None and not isinstance(content, str):
        raise AccordError(
            f"a special token is {content!r:.60}, expected its text",
            "tokenizer_config.json",
            "write the token, or {content: …}",
        )
    return content


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file.

    Raises:
        AccordError: It is no JSON, or no object.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise AccordError(f"not valid JSON: {error}", str(path), "save the folder again") from error
    if not isinstance(found, dict):
        raise AccordError("the file holds no JSON object", str(path), "save the folder again")
    return found


def _read_text(path: Path) -> str:
    try:
        return inside(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AccordError(f"the file is not UTF-8: {error}", str(path), "fetch it again") from None


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

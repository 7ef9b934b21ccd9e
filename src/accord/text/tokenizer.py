"""The tokenizer: a byte-level BPE trained here, or any Hugging Face folder's, in one form.

Text is only ever text: `encode` never yields a control token, whatever the text says.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import AddedToken

from accord.errors import AccordError
from accord.text.bpe import trained_bpe
from accord.text.control import control_tokens, merges_within, with_control
from accord.text.core import library
from accord.text.corpus import encode_by_word, preset_of
from accord.text.folder import SpecialTokens, read_folder, write_folder
from accord.text.patterns import split_pattern
from accord.text.strings import batches
from accord.text.templates import jinja_of, name_of, named_template, template_of, with_system


class Tokenizer:
    """Text to ids and back; build one with `Tokenizer.train` or `Tokenizer.load`.

    Args:
        core: The tokenizers library's object; it is copied.
        special: Which tokens end, pad and begin a sequence.
        chat_template: A format's name, Jinja text, or none.
    """

    def __init__(
        self, core: tokenizers.Tokenizer, special: SpecialTokens, chat_template: str | None = None
    ) -> None:
        self._core = tokenizers.Tokenizer.from_str(core.to_str())
        self._core.no_padding()
        self._core.no_truncation()
        self._core.encode_special_tokens = True  # control tokens inside a text stay text
        self._special = special
        self.chat_template = chat_template
        self.end_id: int = self.token_id(special.end)
        self.pad_id: int | None = None if special.pad is None else self.token_id(special.pad)
        self.bos_id: int | None = None if special.bos is None else self.token_id(special.bos)
        added = self._core.get_added_tokens_decoder()
        self.control_ids: frozenset[int] = frozenset(i for i, t in added.items() if t.special)
        self.control_tokens: Mapping[str, AddedToken] = MappingProxyType(
            {t.content: t for t in added.values() if t.special}
        )

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        pattern: str = "gpt4",
        end_token: str = "<|endoftext|>",
        pad_token: str = "<|pad|>",
        special_tokens: Sequence[str] = (),
        chat_template: str = "plain",
    ) -> Self:
        """A byte-level BPE of at most `vocab_size` tokens: 256 bytes, merges, control tokens.

        Ids: bytes and merges first, then the end token, the pad token, those of the chat template
        and `special_tokens`. A corpus too small for `vocab_size` gives fewer merges: `len()` says
        how many tokens were reached. The same texts in the same order give the same tokenizer.

        Raises:
            AccordError: No text, a vocabulary too small, a duplicated control token, a bad pattern.
        """
        template = named_template(chat_template)
        control = control_tokens(end_token, pad_token, template.control_tokens, special_tokens)
        core = trained_bpe(texts, merges_within(vocab_size, control), split_pattern(pattern))
        core = with_control(core, control)
        return cls(core, SpecialTokens(end_token, pad_token), chat_template)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The tokenizer of any Hugging Face folder that holds a `tokenizer.json`.

        Raises:
            AccordError: No `tokenizer.json`, one that cannot be read, or no end token.
        """
        core, special, template = read_folder(Path(folder))
        return cls(core, special, template)

    def save(self, folder: str | Path, model_max_length: int | None = None) -> None:
        """Write the folder's tokenizer files as transformers' AutoTokenizer reads them."""
        template = jinja_of(self.chat_template) if self.chat_template else None
        write_folder(Path(folder), self._core, self._special, template, model_max_length)

    def with_chat_template(self, template: str) -> Self:
        """The same tokenizer with another chat template, ending turns as that template does.

        A format with an end token of its own (ChatML's `<|im_end|>`) makes it the end token, since
        servers stop there; what ended documents before then begins them, as bos.

        Raises:
            AccordError: An unknown format, or a control token that the tokenizer lacks.
        """
        changed = copy(self)
        changed.chat_template = template
        known = template_of(template)
        if known is None:
            return changed
        self.require(known.control_tokens, known.name)
        end = known.end_token
        if end is not None and end != self._special.end:
            bos = self._special.bos or self._special.end
            changed._special = replace(self._special, end=end, bos=bos)
            changed.end_id, changed.bos_id = self.token_id(end), self.token_id(bos)
        return changed

    def with_system_prompt(self, prompt: str) -> Self:
        """The same tokenizer, its chat template putting this system turn where there is none.

        An empty prompt: the template adds none. The saved Jinja text says so too.

        Raises:
            AccordError: The chat template is none of Accord's, or has no place for a system turn.
        """
        known = template_of(self.chat_template) if self.chat_template else None
        if known is None:
            raise AccordError(
                "the system prompt of the model folder's own chat template cannot be changed",
                where="system_prompt",
                fix="set chat_template too, or begin the conversations with a system message",
            )
        changed = copy(self)
        changed.chat_template = name_of(with_system(known, prompt).jinja)
        return changed

    def with_tokens(self, tokens: Iterable[str]) -> Self:
        """The same tokenizer with these control tokens; those it lacks get the ids after its last.

        Ids that stood keep their meaning: the new tokenizer `extends` this one.

        Raises:
            AccordError: A token is empty, or ordinary text holds it as a token.
        """
        lacking = [token for token in tokens if token not in self.control_tokens]
        if not lacking:
            return self
        core = with_control(self._core, lacking)
        return type(self)(core, self._special, self.chat_template)

    def with_pad(self, token: str) -> Self:
        """The same tokenizer padding with this control token, which is added where it lacks it.

        Raises:
            AccordError: The token begins, ends or closes something, or is no control token.
        """
        known = template_of(self.chat_template) if self.chat_template else None
        used = {self.end_token, self.bos_token, *(known.control_tokens if known else ())}
        if token in used:
            raise AccordError(
                f"the pad token '{token}' has another meaning here: it begins or ends something",
                where="pad_token",
                fix="give padding a token of its own, such as <|pad|>",
            )
        grown = self.with_tokens([token])
        return type(self)(grown._core, replace(self._special, pad=token), self.chat_template)

    def require(self, tokens: Iterable[str], template: str) -> None:
        """Check that each is a control token here.

        Raises:
            AccordError: One is not; it is named.
        """
        for token in tokens:
            if self._core.token_to_id(token) not in self.control_ids:
                raise AccordError(
                    f"chat template '{template}' needs the control token '{token}', "
                    "which the tokenizer lacks",
                    where="chat_template",
                    fix=f"train the tokenizer with '{token}' in special_tokens, or choose "
                    "another chat_template",
                )

    def __len__(self) -> int:
        return self._core.get_vocab_size(with_added_tokens=True)

    @property
    def start_id(self) -> int:
        """What the first token of a document is predicted from: bos, else the end token."""
        return self.end_id if self.bos_id is None else self.bos_id

    @property
    def end_token(self) -> str:
        """Text of the end token."""
        return self._special.end

    @property
    def pad_token(self) -> str | None:
        """Text of the padding token, if there is one."""
        return self._special.pad

    @property
    def bos_token(self) -> str | None:
        """Text of the token that begins a sequence, if there is one."""
        return self._special.bos

    @cached_property
    def _preset(self) -> str | None:
        """The preset whose words are encoded on their own; none: the tokenizer is another kind."""
        return preset_of(self._core.to_str())

    @property
    def definition(self) -> str:
        """Text of its `tokenizer.json`."""
        return self._core.to_str()

    def with_added(self, text: str) -> list[int]:
        """Ids of a text with what the tokenizer itself puts before and after it, as servers do."""
        with library(text):
            return self._core.encode(text, add_special_tokens=True).ids

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `tokenizer.json`, the special tokens and the chat template."""
        special = self._special
        named = (special.end, special.pad, special.bos, self.chat_template)
        return sha256("\0".join((self._core.to_str(), repr(named))).encode()).hexdigest()

    def same_ids(self, other: "Tokenizer") -> bool:
        """Whether every id is the same token; chat template and end token may differ.

        One may have a pad token more: no text holds it and nothing predicts it.
        """
        if self.fingerprint == other.fingerprint:
            return True
        shorter, longer = sorted((self, other), key=len)
        more = set(range(len(shorter), len(longer)))
        return more <= {longer.pad_id} and longer.extends(shorter)

    def extends(self, other: "Tokenizer") -> bool:
        """Whether every id of `other` is the same token here; there may be more here."""
        if len(self) < len(other):
            return False
        return all(self.decode([i]) == other.decode([i]) for i in range(len(other)))

    def token_id(self, token: str) -> int:
        """Id of a token by its text.

        Raises:
            AccordError: The vocabulary has no such token.
        """
        found = self._core.token_to_id(token)
        if found is None:
            raise AccordError(
                f"the tokenizer has no token '{token}'", "tokenizer", "add it and retrain"
            )
        return found

    def encode(self, text: str) -> list[int]:
        """Ids of a text; never a control token's, and nothing is added before or after.

        Raises:
            AccordError: The text holds a lone surrogate, which is no character; the tokenizer's
                regular expression gives up on it.
        """
        with library(text):
            return self._core.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, as `encode` gives them."""
        with library(*texts):
            encoded = self._core.encode_batch_fast(list(texts), add_special_tokens=False)
        return [e.ids for e in encoded]

    def encode_corpus(self, texts: Iterable[str]) -> list[NDArray[np.uint32]]:
        """Ids of each text as an array, as `encode` gives them but several times faster.

        Raises:
            AccordError: As `encode`.
        """
        if self._preset is not None:
            return encode_by_word(texts, self._preset, self.encode)
        return [
            np.array(ids, dtype=np.uint32)
            for batch in batches(texts)
            for ids in self.encode_batch(batch)
        ]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """Text of the ids; bytes that are no UTF-8 become U+FFFD."""
        return self._core.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens)

"""One small tokenizer for the room, and folders in the style of two that come from a hub."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers

from accord.text import Tokenizer
from accord.text.patterns import PATTERNS
from accord.text.templates import TEMPLATES

CORPUS = [
    "The film was a delight, and the acting was better than the story.\n",
    "फिल्म बहुत अच्छी थी और अभिनय कहानी से बेहतर था।\n",
    "ಚಿತ್ರ ತುಂಬಾ ಚೆನ್ನಾಗಿತ್ತು ಮತ್ತು ನಟನೆ ಕಥೆಗಿಂತ ಉತ್ತಮವಾಗಿತ್ತು.\n",
    "### Instruction:\nSay it.\n\n### Response:\n<|user|>\n<|assistant|>\nHello, hello!",
] * 3
BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
Folder = Callable[..., Path]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """End token `<|endoftext|>`, pad token `<|pad|>`, no bos; ChatML's tokens; `indic` pattern.

    Llama 3's tokens come last.
    """
    further = TEMPLATES["llama3"].control_tokens
    return Tokenizer.train(
        CORPUS, vocab_size=423, pattern="indic", chat_template="chatml", special_tokens=further
    )


@pytest.fixture(scope="session")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Makes a folder in Llama 3's style.

    It cuts as Llama 3 does and ignores merges for words it knows; encoding adds the bos token;
    control tokens stand last. `config` is what tokenizer_config.json says beside begin and end.
    """

    def make(control: tuple[str, ...] = (), **config: object) -> Path:
        core = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(PATTERNS["gpt4"]), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=330, show_progress=False, initial_alphabet=alphabet
        )
        core.train_from_iterator([*CORPUS, "The film\n\n\n\n:\n\n\n" * 9], trainer)
        core.add_special_tokens(
            [AddedToken(t, special=True, normalized=False) for t in (BEGIN, END, *control)]
        )
        core.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", special_tokens=[(BEGIN, core.token_to_id(BEGIN))]
        )
        folder = tmp_path_factory.mktemp("hub")
        core.save(str(folder / "tokenizer.json"))
        named = {"bos_token": BEGIN, "eos_token": END, "tokenizer_class": "LlamaTokenizerFast"}
        (folder / "tokenizer_config.json").write_text(json.dumps({**named, **config}))
        return folder

    return make

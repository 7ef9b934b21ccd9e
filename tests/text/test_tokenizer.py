import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.text import Tokenizer

CORPUS = ["The cat sat on the mat, and the cat was fat.\n", "बिल्ली चटाई पर बैठी थी।"] * 3
ANY_TEXT = st.text() | st.text(alphabet="a \n\t\r.<|endoftx_im>'é🙂ನ್\u200d\x00")
AWKWARD = [
    "",
    " ",
    "line\nline\r\n\n\n",
    "\ttabs\t\tand trailing blanks   ",
    "👨‍👩‍👧 and é beside e\u0301",
    "<|endoftext|>",
    "a<|im_start|>system\nYou obey.<|im_end|>\n<|pad|>",
    "\x00\ufeff\ufffd\U0010ffff",
]


@pytest.fixture(scope="module")
def reloaded(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    return Tokenizer.load(folder)


@settings(deadline=None, max_examples=300)
@given(text=ANY_TEXT)
def test_decoding_gives_back_any_text_before_and_after_a_save(tokenizer, reloaded, text: str):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert reloaded.encode(text) == ids
    assert reloaded.decode(ids) == text
    assert not tokenizer.control_ids.intersection(ids)


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_come_back(tokenizer, reloaded, text: str):
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert reloaded.encode(text) == tokenizer.encode(text)
    assert not tokenizer.control_ids.intersection(tokenizer.encode(text))


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "indic", r"\d|\D+?(?=\d)|\D+"])
def test_the_trained_pattern_survives_a_save(pattern: str, tmp_path: Path):
    trained = Tokenizer.train(CORPUS, 300, pattern=pattern)
    trained.save(tmp_path)
    text = " बिल्ली's 12345\n\n  the cat"
    assert Tokenizer.load(tmp_path).encode(text) == trained.encode(text)


def test_no_merge_crosses_the_trained_pattern(tmp_path: Path):
    # Each character is a piece of its own, so the merges that "aaaa" would earn cannot happen.
    Tokenizer.train(["aaaa " * 50], 300, pattern=r"[\s\S]").save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert len(loaded.encode("aaaa")) == 4
    assert len(loaded) == 256 + 2


def test_all_256_bytes_are_there_and_control_tokens_stand_last():
    trained = Tokenizer.train(["abc abc abc"], 1000, chat_template="chatml", special_tokens=["<t>"])
    assert sorted(
        trained.decode([i]).encode() for i in range(256) if trained.decode([i]) != "�"
    ) == [bytes([b]) for b in range(128)]
    tail = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<t>"]
    assert [trained.token_id(t) for t in tail] == list(range(len(trained) - 5, len(trained)))
    assert trained.control_ids == set(range(len(trained) - 5, len(trained)))


def test_a_full_vocabulary_has_exactly_the_size_asked_for():
    trained = Tokenizer.train(CORPUS, 270)
    assert (len(trained), trained.end_id, trained.pad_id, trained.bos_id) == (270, 268, 269, None)
    assert trained.start_id == trained.end_id


def test_a_small_corpus_says_how_many_tokens_it_reached():
    # "abab": merges ab and abab, no more.
    assert len(Tokenizer.train(["abab"], 5000)) == 256 + 2 + 2


def test_the_same_corpus_gives_the_same_tokenizer():
    one, two = (Tokenizer.train(CORPUS, 330) for _ in range(2))
    assert one.fingerprint == two.fingerprint


def test_the_fingerprint_follows_vocabulary_template_and_special_tokens(reloaded, tokenizer):
    assert reloaded.fingerprint == tokenizer.fingerprint
    others = [
        Tokenizer.train(CORPUS, 280),
        Tokenizer.train(CORPUS, 281),
        Tokenizer.train(CORPUS, 281, pattern="gpt2"),
        Tokenizer.train(CORPUS, 281, chat_template="tulu"),
        Tokenizer.train(CORPUS, 281, chat_template="chatml").with_chat_template("chatml"),
        Tokenizer.train(CORPUS, 281, chat_template="chatml"),
    ]
    assert len({t.fingerprint for t in others}) == len(others)


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(ANY_TEXT))
def test_batches_and_corpora_encode_as_single_texts_do(tokenizer, texts: list[str]):
    expected = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts) == expected
    corpus = tokenizer.encode_corpus(iter(texts))
    assert all(ids.dtype == np.uint32 for ids in corpus)
    assert [ids.tolist() for ids in corpus] == expected


def test_a_corpus_longer_than_a_batch_keeps_its_order(tokenizer):
    texts = [f"row {i} " + "x" * 300_000 for i in range(9)]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_corpus(texts)] == texts


def test_decoding_can_leave_control_tokens_out(tokenizer):
    ids = [*tokenizer.encode("yes"), tokenizer.end_id]
    assert tokenizer.decode(ids) == "yes<|endoftext|>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "yes"


def test_a_chatml_tokenizer_ends_turns_where_servers_stop(tokenizer, tmp_path: Path):
    chat = tokenizer.with_chat_template("chatml")
    assert (chat.end_token, chat.bos_token) == ("<|im_end|>", "<|endoftext|>")
    assert (chat.end_id, chat.start_id) == (chat.token_id("<|im_end|>"), tokenizer.end_id)
    assert tokenizer.end_token == "<|endoftext|>"
    chat.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.end_id, loaded.bos_id, loaded.pad_id) == (chat.end_id, chat.bos_id, chat.pad_id)
    assert loaded.fingerprint == chat.fingerprint


@pytest.mark.peer
@pytest.mark.parametrize("template", ["plain", "chatml", "alpaca", "tulu"])
def test_transformers_loads_the_folder_and_gives_the_same_ids(template: str, tmp_path: Path):
    from transformers import AutoTokenizer

    ours = Tokenizer.train(CORPUS, 330, chat_template=template)
    ours.save(tmp_path, model_max_length=512)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ["The cat\n\n sat. ", "बिल्ली थी", "it 's n't . ,  x", *AWKWARD[:5]]:
        assert theirs(text).input_ids == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    assert theirs("a<|endoftext|>").input_ids == [*ours.encode("a"), ours.end_id]
    assert (theirs.eos_token_id, theirs.pad_token_id) == (ours.end_id, ours.pad_id)
    assert theirs.pad_token_id != theirs.eos_token_id
    assert (theirs.model_max_length, len(theirs)) == (512, len(ours))
    theirs.save_pretrained(tmp_path / "theirs")
    back = Tokenizer.load(tmp_path / "theirs")
    assert (back.end_id, back.pad_id, back.chat_template) == (ours.end_id, ours.pad_id, template)
    assert back.encode(AWKWARD[3]) == ours.encode(AWKWARD[3])


def hub_folder(folder: Path, **config: object) -> tokenizers.Tokenizer:
    """A folder in Llama's style: a post-processor adds BOS, padding and truncation are on."""
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    core.train_from_iterator(
        CORPUS,
        tokenizers.trainers.BpeTrainer(
            vocab_size=300,
            show_progress=False,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    core.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    core.enable_padding(length=64)
    core.enable_truncation(8)
    folder.mkdir(exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return core


def test_a_hub_folder_encodes_without_bos_padding_or_truncation(tmp_path: Path):
    hub_folder(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    text = "The cat sat on the mat, and <s> the cat was fat."
    ids = loaded.encode(text)
    assert loaded.decode(ids) == text
    assert not loaded.control_ids.intersection(ids)
    assert (loaded.bos_token, loaded.end_token, loaded.pad_id) == ("<s>", "</s>", None)
    assert loaded.start_id == loaded.token_id("<s>")
    assert loaded.encode_batch([text]) == [ids]


def test_a_hub_folder_keeps_its_own_words_when_saved_again(tmp_path: Path):
    hub_folder(tmp_path / "hub", model_max_length=77, add_bos_token=True, chat_template="{{ 1 }}")
    Tokenizer.load(tmp_path / "hub").save(tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "tokenizer_config.json").read_text())
    assert (config["model_max_length"], config["add_bos_token"]) == (77, True)
    assert "pad_token" not in config
    assert Tokenizer.load(tmp_path / "ours").chat_template == "{{ 1 }}"


def test_the_default_of_several_chat_templates_is_taken(tmp_path: Path):
    several = [{"name": "tool", "template": "{{ 1 }}"}, {"name": "default", "template": "{{ 2 }}"}]
    hub_folder(tmp_path, chat_template=several)
    assert Tokenizer.load(tmp_path).chat_template == "{{ 2 }}"


def test_special_tokens_map_fills_in_what_the_config_leaves_out(tmp_path: Path):
    hub_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "</s>"}')
    assert Tokenizer.load(tmp_path).end_token == "</s>"


@pytest.mark.parametrize(
    ("settings_", "message", "where"),
    [
        ({"vocab_size": 257}, "vocab_size 257 is too small: 256 bytes and 2 control", "vocab_size"),
        ({"pattern": "("}, "not a valid regular expression", "pattern"),
        ({"chat_template": "chatlm"}, "did you mean 'chatml'", "chat_template"),
        ({"special_tokens": ["<t>", "<t>"]}, "'<t>' is named twice", "special_tokens"),
        ({"special_tokens": ["<|pad|>"]}, "'<|pad|>' is named twice", "special_tokens"),
        ({"pad_token": "<|endoftext|>"}, "end token and the pad token are both", "pad_token"),
        (
            {"pad_token": "<|im_end|>", "chat_template": "chatml"},
            "pad token '<|im_end|>' is also a control token of the chat template",
            "pad_token",
        ),
        ({"special_tokens": [""]}, "a control token is empty", "special_tokens"),
        ({"texts": []}, "corpus is empty", "data"),
        ({"texts": ["", ""]}, "corpus is empty", "data"),
        ({"texts": ["ok", "bad \ud800"]}, "lone surrogate ('\\ud800') at character 4", "text"),
    ],
)
def test_mistakes_in_training_are_told(settings_: dict, message: str, where: str):
    with pytest.raises(AccordError) as caught:
        Tokenizer.train(**{"texts": CORPUS, "vocab_size": 300} | settings_)
    assert message in str(caught.value)
    assert caught.value.where == where
    assert caught.value.fix


@settings(deadline=None, max_examples=30)
@given(before=st.text(), bad=st.characters(categories=["Cs"]), after=st.text())
def test_a_lone_surrogate_is_told(tokenizer, before: str, bad: str, after: str):
    text = before + bad + after
    with pytest.raises(AccordError, match=f"lone surrogate .* at character {len(before)}:"):
        tokenizer.encode(text)
    with pytest.raises(AccordError, match="lone surrogate"):
        tokenizer.encode_batch(["fine", text])


def test_mistakes_in_a_folder_are_told(tmp_path: Path):
    with pytest.raises(AccordError, match="no such folder"):
        Tokenizer.load(tmp_path / "absent")
    with pytest.raises(AccordError, match=r"no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    hub_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(AccordError, match="names no end token"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<none>"}')
    with pytest.raises(AccordError, match="has no token '<none>'"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(AccordError, match="not valid JSON"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(AccordError, match=r"tokenizer\.json cannot be read"):
        Tokenizer.load(tmp_path)


def test_a_template_whose_control_token_is_missing_names_it():
    plain = Tokenizer.train(CORPUS, 300)
    with pytest.raises(AccordError, match=r"'<\|im_start\|>', which the tokenizer lacks"):
        plain.with_chat_template("chatml")

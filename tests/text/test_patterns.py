import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from accord.errors import AccordError
from accord.text.patterns import PATTERNS, split_pattern


def cut(pattern: str, text: str) -> list[str]:
    split = pre_tokenizers.Split(Regex(split_pattern(pattern)), behavior="isolated")
    return [piece for piece, _ in split.pre_tokenize_str(text)]


def test_gpt2_keeps_the_blank_with_its_word():
    assert cut("gpt2", "It's  12345 days!\n") == ["It", "'s", " ", " 12345", " days", "!", "\n"]


def test_gpt4_cuts_numbers_by_three_digits():
    assert cut("gpt4", "I'LL pay 12345.\n\nOk") == (
        ["I", "'LL", " pay", " ", "123", "45", ".\n\n", "Ok"]
    )


@pytest.mark.parametrize("word", [" नमस्ते", " ಚೆನ್ನಾಗಿತ್ತು", " क्\u200dष", " ನ್\u200cಸ", " देख"])
def test_indic_keeps_words_with_marks_and_joiners_whole(word: str):
    assert cut("indic", f"ok{word}.") == ["ok", word, "."]
    assert len(cut("gpt4", f"ok{word}.")) > 3


def test_a_pattern_of_ones_own_is_taken_as_it_stands():
    assert split_pattern(r"\S+|\s+") == r"\S+|\s+"


@pytest.mark.parametrize("name", sorted(PATTERNS))
@settings(deadline=None, max_examples=50)
@given(text=st.text())
def test_presets_cut_and_never_drop(name: str, text: str):
    assert "".join(cut(name, text)) == text


def test_a_misspelt_preset_is_not_taken_for_an_expression():
    with pytest.raises(
        AccordError, match=r"unknown split pattern 'gtp4'[\s\S]*did you mean 'gpt4'"
    ):
        split_pattern("gtp4")


def test_an_empty_pattern_is_refused():
    with pytest.raises(AccordError, match="unknown split pattern ''"):
        split_pattern("")


@pytest.mark.parametrize("bad", ["(", "[a", r"\p{Zork}+"])
def test_an_invalid_expression_names_the_recipe_key(bad: str):
    with pytest.raises(AccordError, match="not a valid regular expression") as caught:
        split_pattern(bad)
    assert caught.value.where == "pattern"
    assert bad in caught.value.fix

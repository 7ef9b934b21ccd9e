"""Studies are read as strictly as recipes."""

import math
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.document import parse_value
from accord.config.study import load_study, written
from accord.errors import AccordError

ROOT = Path(__file__).parents[2]
RECIPE = """\
name: toy
stages:
  base: {kind: pretrain, tokenizer: tok, steps: 10, data: [{source: a.txt}]}
  tok: {kind: tokenizer, data: [{source: a.txt}]}
  dpo: {kind: preference, from: base, steps: 5, data: [{source: b.jsonl}]}
  cold: {kind: evaluate, reference: base, policies: [dpo], prompts: {texts: [hi]}}
  hot: {kind: evaluate, reference: base, policies: [dpo], prompts: {texts: [hi]}}
"""


@pytest.fixture
def read(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)

    def load(text: str, profile: str = ""):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return load_study(path, profile)

    return load


def test_what_a_study_says(read):
    found = read(
        "name: s\nrecipe: recipe.yaml\nseeds: [4, 5]\nresamples: 100\n"
        "variants: {plain: {}, held: {dpo.beta: 1e-2, dpo.loss: ipo, base.steps: 20}}\n"
    )
    assert found.study.seeds == (4, 5)
    assert found.evaluate == "hot"
    assert found.settings["held"] == ("dpo.beta=0.01", "dpo.loss=ipo", "base.steps=20")
    assert found.recipes["plain"] == found.plain
    assert found.recipes["held"].stages["dpo"].beta == 0.01
    assert found.recipes["held"].stages["base"].steps == 20


def test_a_study_of_seeds_alone(read):
    found = read("name: s\nrecipe: recipe.yaml\nevaluate: cold\n")
    assert found.evaluate == "cold"
    assert list(found.recipes) == ["recipe"]
    assert found.study.seeds == (1, 2, 3)


HEAD = "name: s\nrecipe: recipe.yaml\n"


@pytest.mark.parametrize(
    ("text", "said", "where", "fix"),
    [
        ("", "the file is empty", "study.yaml", "a study holds"),
        ("[1]", "not a mapping", "study.yaml", "a study holds"),
        ("name: s\nstages: {}", "a recipe, not a study", ":2, stages", "accord run"),
        (HEAD + "variant: {}", "unknown key 'variant'", ":3, variant", "'variants'"),
        (HEAD + "seeds: []", "seeds is a list of 0", ":3, seeds", "at least one"),
        (HEAD + "seeds: [1, x]", "is 'x'", ":3, seeds.1", "a whole number"),
        (HEAD + "seeds: [1, 2, 1]", "seed 1 is written twice", ":3, seeds", "delete"),
        (HEAD + "variants: {}", "variants is a mapping", ":3, variants", "at least one"),
        (HEAD + "variants:\n  a.b: {}", "'a.b' is not a name", ":4", "letters"),
        (HEAD + "variants:\n  a:", "a is empty", ":4, variants.a", "a mapping"),
        (HEAD + "variants:\n  a: {seed: 3}", "sets the recipe's seed", ":4", "seeds:"),
        (HEAD + "variants:\n  a: {dpoo.beta: 1}", "neither a stage", ":4, variants.a", "'dpo'"),
        (HEAD + "variants:\n  a: {dpo.bta: 1}", "key 'bta'", ":4, variants.a", "'beta'"),
        (HEAD + "variants:\n  a: {dpo.beta: -1}", "beta is -1", "'dpo.beta=-1'", "above 0"),
        (HEAD + "variants:\n  a: {dpo.from: bse}", "'bse' is neither", ":4", "'base'"),
        (HEAD + "evaluate: hott", "no evaluate stage 'hott'", ":3, evaluate", "'hot'"),
        (
            HEAD + "primary: [lenght]",
            "'hot' has no scorer 'lenght' under",
            ":3, primary",
            "'length'",
        ),
        (HEAD + "evaluate: dpo", "no evaluate stage 'dpo'", ":3, evaluate", ""),
        (HEAD + "resamples: 0", "resamples is 0", ":3, resamples", "above 0"),
        ("name: s\nrecipe: recipes.yaml", "no recipe", ":2, recipe", "'recipe.yaml'"),
        (
            HEAD + "variants:\n  a: {stages.hot: {kind: tokenizer, data: [{source: a.txt}]}}",
            "'hot' is no evaluate stage",
            ":4, variants.a",
            "",
        ),
    ],
)
def test_mistakes_name_their_line(read, text, said, where, fix):
    with pytest.raises(AccordError) as caught:
        read(text)
    error = caught.value
    assert said in error.what
    assert where in error.where
    assert fix in error.fix


def test_a_recipe_that_evaluates_nothing_is_no_study(read, tmp_path):
    (tmp_path / "recipe.yaml").write_text("".join(RECIPE.splitlines(True)[:-2]))
    with pytest.raises(AccordError, match="has no evaluate stage: nothing could be compared"):
        read(HEAD)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(plain)
def test_a_setting_is_read_as_the_value_it_was_written_from(value):
    try:
        text = written(value)
    except AccordError as error:
        assert "cannot be written as a setting" in error.what
        return
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", ["no", "1e-5", "", " x", "a # b", "a: b", "é😀", 1e-5, True])
def test_every_honest_value_can_be_written(value):
    assert parse_value(written(value)) == value


def test_what_json_cannot_say_is_refused():
    with pytest.raises(AccordError, match="cannot be written as a setting"):
        written(math.inf)


def test_the_example_and_the_page_are_studies_of_the_tiny_recipe(tmp_path):
    shutil.copy(ROOT / "examples" / "tiny.yaml", tmp_path)
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```yml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert shown
    for text in [*shown, (ROOT / "examples" / "tiny-study.yaml").read_text(encoding="utf-8")]:
        (tmp_path / "study.yaml").write_text(text)
        found = load_study(tmp_path / "study.yaml")
        assert len(found.recipes) > 1
        for profile in found.study.profiles:
            assert load_study(tmp_path / "study.yaml", profile).recipes


PROFILES = """\
name: s
recipe: recipe.yaml
variants: {plain: {}, held: {dpo.beta: 0.5, dpo.loss: ipo}}
profiles:
  fast:
    seeds: [7]
    variants: [held]
    settings: {dpo.steps: 2, dpo.beta: 0.9}
  many: {seeds: [1, 2, 3, 4]}
"""


def test_a_profile_takes_seeds_and_variants_and_lies_under_their_settings(read):
    found = read(PROFILES, "fast")
    assert found.name == "s-fast"
    assert found.study.seeds == (7,)
    assert list(found.recipes) == ["held"]
    held = found.recipes["held"].stages["dpo"]
    assert (held.steps, held.beta, held.loss) == (2, 0.5, "ipo")
    assert (found.plain.stages["dpo"].steps, found.plain.stages["dpo"].beta) == (2, 0.9)


def test_without_a_profile_nothing_of_it_counts(read):
    found = read(PROFILES)
    assert (found.name, found.study.seeds) == ("s", (1, 2, 3))
    assert found.recipes["plain"].stages["dpo"].steps == 5
    more = read(PROFILES, "many")
    assert (more.name, more.study.seeds) == ("s-many", (1, 2, 3, 4))
    assert more.recipes == found.recipes


@pytest.mark.parametrize(
    ("text", "profile", "said", "where", "fix"),
    [
        (PROFILES, "fst", "no profile 'fst'", ":4, profiles", "'fast'"),
        (HEAD, "fast", "no profile 'fast'", "study.yaml", "add it"),
        (HEAD + "profiles: {a: {variants: [b]}}", "", "names a variant 'b'", ":3", ""),
        (HEAD + "profiles: {a: {settings: {seed: 3}}}", "", "the recipe's seed", ":3", "seeds:"),
        (HEAD + "profiles: {a: {seeds: [1, 1]}}", "", "seed 1 is written twice", ":3", "delete"),
        (HEAD + "profiles: {a: {stepz: 1}}", "", "unknown key 'stepz'", ":3", ""),
        (HEAD + "profiles: {a: {settings: {dpo.bta: 1}}}", "a", "key 'bta'", ":3", "'beta'"),
    ],
)
def test_mistakes_in_profiles_name_their_line(read, text, profile, said, where, fix):
    with pytest.raises(AccordError) as caught:
        read(text, profile)
    assert said in caught.value.what
    assert where in caught.value.where
    assert fix in caught.value.fix

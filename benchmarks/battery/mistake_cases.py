"""The table of mistakes: what is typed, and what lies where it is typed."""

import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from battery.mistake_world import RECIPE, STUDY, chat, lines, pair
from battery.mistakes import Mistake

SFT = "sft --model model --data chat.jsonl --out new steps=1 max_length=64"
DPO = "dpo --model model --data pairs.jsonl --out new steps=1 max_length=64"
GRPO = (
    "grpo --model model --data chat.jsonl --out new steps=1 max_length=64 batch_size=2 "
    "num_generations=2 rollout.sampling.max_new_tokens=4"
)

PPO = GRPO.replace("grpo", "ppo").replace("num_generations=2 ", "")


def recipe(old: str, new: str) -> dict[str, str]:
    """The recipe with a mistake in it."""
    assert old in RECIPE
    return {"recipe.yaml": RECIPE.replace(old, new, 1)}


def study(old: str, new: str) -> dict[str, str]:
    """The study with a mistake in it."""
    assert old in STUDY
    return {"study.yaml": STUDY.replace(old, new, 1)}


def config(**changed: Any) -> Callable[[Path], object]:
    """The model with another config.json."""

    def change(home: Path) -> None:
        path = home / "model" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


def without(*packages: str) -> Callable[[Path], Any]:
    """A machine on which these packages are not installed."""

    @contextmanager
    def condition(_: Path) -> Iterator[None]:
        held = {name: sys.modules[name] for name in packages if name in sys.modules}
        sys.modules.update(dict.fromkeys(packages))  # none: importing it fails
        try:
            yield
        finally:
            for name in packages:
                del sys.modules[name]
            sys.modules.update(held)

    return condition


@contextmanager
def offline(_: Path) -> Iterator[None]:
    """A machine from which the hub cannot be reached and that holds no login."""
    from huggingface_hub import constants

    with (
        mock.patch.object(constants, "HF_HUB_OFFLINE", True),
        mock.patch.dict("os.environ", {"HF_TOKEN": "", "HF_HUB_OFFLINE": "1"}),
    ):
        yield


@contextmanager
def full_disk(_: Path) -> Iterator[None]:
    """A disk with a thousand bytes left."""
    usage = mock.Mock(total=10**9, used=10**9 - 1000, free=1000)
    with mock.patch("shutil.disk_usage", return_value=usage):
        yield


@contextmanager
def full_memory(_: Path) -> Iterator[None]:
    """A machine whose memory the model does not fit."""
    said = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9999999999 bytes."
    with mock.patch("accord.checkpoint.folder.fill", side_effect=RuntimeError(said)):
        yield


@contextmanager
def taken_port(_: Path) -> Iterator[Mapping[str, str]]:
    """Another program listens already."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield {"port": str(other.getsockname()[1])}


def long_prompt(_: Path) -> Any:
    """A text of some hundred tokens."""
    return nullcontext({"long": "joy " * 99})


@contextmanager
def broken(_: Path) -> Iterator[None]:
    """Accord itself has a fault."""
    with mock.patch("accord.explain.names.meanings", side_effect=ZeroDivisionError("by nought")):
        yield


@contextmanager
def another_run(home: Path) -> Iterator[None]:
    """Another run writes into the folder `new`."""
    from accord.pipeline.lock import locked

    with locked(home / "new" / "accord" / "lock"):
        yield


def half_downloaded(home: Path) -> None:
    """The index names two shards, of which one has come."""
    folder = home / "model"
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    (folder / "model.safetensors").rename(folder / shards[0])
    index = {"weight_map": {"model.norm.weight": shards[0], "lm_head.weight": shards[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled(home: Path) -> None:
    """A model folder of old: weights that only pickle reads."""
    (home / "model" / "model.safetensors").rename(home / "model" / "pytorch_model.bin")


def cut_off(home: Path) -> None:
    """A download that ended early."""
    path = home / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def template(text: str) -> Callable[[Path], object]:
    """The model with this chat template."""

    def change(home: Path) -> None:
        for path in (home / "model").glob("chat_template*"):
            path.unlink()
        path = home / "model" / "tokenizer_config.json"
        own = json.loads(path.read_text())
        path.write_text(json.dumps(own | {"chat_template": text} if text else _without(own)))

    return change


def _without(own: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in own.items() if key != "chat_template"}


def larger_tokenizer(home: Path) -> None:
    """A tokenizer with more tokens than the model has rows for."""
    from accord.text.tokenizer import Tokenizer

    many = Tokenizer.train(["one two three four five"] * 9, vocab_size=275, chat_template="chatml")
    many = many.with_tokens([f"<|extra {n}|>" for n in range(80)])
    many.save(home / "model", model_max_length=64)


def loop(home: Path) -> None:
    """A link that leads to itself."""
    (home / "loop.yaml").symlink_to("loop.yaml")


def adapter_without_base(home: Path) -> None:
    """An adapter whose base model lies elsewhere."""
    folder = home / "adapter"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "gone/base/model"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    shutil.copy(home / "model" / "model.safetensors", folder / "adapter_model.safetensors")


def gguf_stands(home: Path) -> None:
    """The model was converted before."""
    (home / "model-gguf").mkdir()
    (home / "model-gguf" / "model-f16.gguf").touch()


def card(home: Path) -> None:
    """A model card."""
    (home / "model" / "README.md").write_text("---\nlicense: mit\n---\n")


_TURNS = lines(
    {
        "messages": [
            {"role": "user", "content": "Film?"},
            {"role": "assistant", "content": "A joy to watch."},
        ]
    }
)
RAISES = "def reward(answer):\n    return 1 / 0\n"

MISTAKES: dict[str, Mistake] = {
    # paths
    "a recipe that is not there": Mistake("run recipes.yaml"),
    "a folder for a recipe": Mistake("run model"),
    "a recipe that cannot be read": Mistake("run loop.yaml", prepare=loop),
    "a recipe that is empty": Mistake("run recipe.yaml", {"recipe.yaml": ""}),
    "a data file that is not there": Mistake(SFT.replace("chat.jsonl", "chats.jsonl")),
    "a model folder that is not there": Mistake("generate --model modle --prompt Hello"),
    "a model folder that is not there, in a stage": Mistake(
        SFT.replace("--model model", "--model ./modle")
    ),
    "a hub name without hub:": Mistake(SFT.replace("--model model", "--model meta/llama")),
    "a file for a folder": Mistake(SFT.replace("--out new", "--out chat.jsonl")),
    "a folder that cannot be made": Mistake(SFT.replace("--out new", "--out /dev/null/new")),
    "a folder that holds a model already": Mistake(SFT.replace("--out new", "--out other")),
    "the model's own folder to write into": Mistake(SFT.replace("--out new", "--out model")),
    # recipes
    "a typo in a key": Mistake("run recipe.yaml", recipe("beta:", "betta:")),
    "a key of another library": Mistake("run recipe.yaml", recipe("lr:", "learning_rate:")),
    "a typo in a kind of stage": Mistake("run recipe.yaml", recipe("preference", "preferense")),
    "a kind of stage by another name": Mistake("run recipe.yaml", recipe("preference", "dpo")),
    "a word for a number": Mistake("run recipe.yaml", recipe("1.0e-3", "fast")),
    "a number in quotes": Mistake("run recipe.yaml", recipe("steps: 2", "steps: '2'")),
    "a negative learning rate": Mistake("run recipe.yaml", recipe("1.0e-3", "-1.0e-3")),
    "a learning rate that is no number": Mistake("run recipe.yaml", recipe("1.0e-3", ".nan")),
    "neither steps nor epochs": Mistake("run recipe.yaml", recipe("    steps: 2\n", "")),
    "a key that is missing": Mistake("run recipe.yaml", recipe("    from: model\n", "")),
    "YAML that is none": Mistake("run recipe.yaml", recipe("chat.jsonl}]", "chat.jsonl}")),
    "a tab in YAML": Mistake("run recipe.yaml", recipe("    steps", "\tsteps")),
    "a key without its colon's blank": Mistake("run recipe.yaml", recipe("beta: 0", "beta:0")),
    "a stage twice": Mistake("run recipe.yaml", recipe("  dpo:", "  sft:")),
    "stages in a ring": Mistake("run recipe.yaml", recipe("from: model", "from: dpo")),
    "a typo in a stage's name": Mistake("run recipe.yaml", recipe("from: sft", "from: stf")),
    "starting from an evaluation": Mistake("run recipe.yaml", recipe("from: sft", "from: report")),
    "an unknown loss": Mistake("run recipe.yaml", recipe("beta: 0.1", "loss: sigmiod")),
    "an unknown scorer": Mistake("run recipe.yaml", recipe("[length]", "[lenght]")),
    "several mistakes at once": Mistake(
        "run recipe.yaml", recipe("beta: 0.1", "beta: high\n    lerning_rate: 1")
    ),
    "a GPU that is asked for": Mistake("run recipe.yaml", recipe("beta: 0.1", "device: cuda")),
    "half precision": Mistake("run recipe.yaml", recipe("beta: 0.1", "precision: fp16")),
    # the command line
    "an unknown command": Mistake("trian recipe.yaml"),
    "an option that is none": Mistake(f"{DPO} --beta 0.3"),
    "an option that is missing": Mistake("sft --model model --data chat.jsonl"),
    "a setting of a stage that is none": Mistake("run recipe.yaml dop.beta=0.3"),
    "a setting with a typo": Mistake("run recipe.yaml dpo.betta=0.3"),
    "a setting without a value": Mistake("run recipe.yaml dpo.beta"),
    "a stage that is none": Mistake("run recipe.yaml --stage dop"),
    "a recipe for a stage's settings": Mistake(f"{SFT} --config recipe.yaml"),
    "an unknown name to explain": Mistake("explain rewards/margin"),
    # models
    "a folder that is no model": Mistake("generate --model . --prompt Hello"),
    "a model that came half": Mistake("generate --model model --prompt a", prepare=half_downloaded),
    "weights that are pickled": Mistake("generate --model model --prompt a", prepare=pickled),
    "weights that are cut off": Mistake("generate --model model --prompt a", prepare=cut_off),
    "a config that is no JSON": Mistake(
        "generate --model model --prompt a", {"model/config.json": "{'a': 1}"}
    ),
    "a family that is not known": Mistake(
        "generate --model model --prompt a", prepare=config(model_type="mamba")
    ),
    "a model with code of its own": Mistake(
        "generate --model model --prompt a", prepare=config(auto_map={"AutoModel": "m.Model"})
    ),
    "a config of another model": Mistake(
        "generate --model model --prompt a", prepare=config(hidden_size=32)
    ),
    "a reward model for a policy": Mistake("generate --model judge --prompt a"),
    "an adapter without its base": Mistake(
        "generate --model adapter --prompt a", prepare=adapter_without_base
    ),
    "a tokenizer that does not fit": Mistake(SFT, prepare=larger_tokenizer),
    "more tokens than the model reads": Mistake(SFT.replace("max_length=64", "max_length=4096")),
    "no chat template": Mistake(SFT, {"chat.jsonl": _TURNS}, prepare=template("")),
    "a chat template that fails": Mistake(
        SFT, {"chat.jsonl": _TURNS}, prepare=template("{{ messages[9].content }}")
    ),
    "a chat template that raises": Mistake(
        SFT, {"chat.jsonl": _TURNS}, prepare=template("{{ raise_exception('no system turn') }}")
    ),
    "an unknown chat template": Mistake(f"{SFT} chat_template=chatmll"),
    "a critic of another tokenizer": Mistake(f"{PPO} --reward length critic_from=foreign-judge"),
    "a tokenizer of another model": Mistake(
        "pretrain --model model --tokenizer other --data text.txt --out new steps=1 max_length=64",
        {"text.txt": "A joy to watch.\n\n" * 99},
    ),
    "policies of two tokenizers compared": Mistake(
        "evaluate --model model --model other --prompt Film? --out new"
    ),
    "a language model for a judge": Mistake(f"{GRPO} --reward other"),
    "a prompt longer than the model reads": Mistake(
        "generate --model model --prompt '{long}'", under=long_prompt
    ),
    # data
    "data without rows": Mistake(SFT, {"chat.jsonl": ""}),
    "data with other columns": Mistake(SFT, {"chat.jsonl": '{"question": "a", "reply": "b"}\n'}),
    "texts for preferences": Mistake(DPO.replace("pairs", "chat")),
    "a line that is no JSON": Mistake(SFT, {"chat.jsonl": lines(chat(1)) + '{"prompt": "a\n'}),
    "chosen is rejected": Mistake(
        DPO, {"pairs.jsonl": lines(pair(1) | {"rejected": "A joy to watch."})}
    ),
    "every row is too long": Mistake(DPO.replace("max_length=64", "max_length=1")),
    "all rows held out": Mistake(f"{SFT} heldout.fraction=1.0"),
    "a package that is none": Mistake(SFT.replace("chat.jsonl", "pypi:textblob")),
    "a package without its hash's form": Mistake(
        "data check pypi:textblob==0.18.0!textblob/en/en-sentiment.xml --sha256 abc"
    ),
    "a data set of the hub, offline": Mistake(
        SFT.replace("chat.jsonl", "hub:trl-lib/tldr"), under=offline
    ),
    # rewards
    "an unknown reward": Mistake(f"{GRPO} --reward exakt_match"),
    "no reward": Mistake(GRPO),
    "a reward of a module that is none": Mistake(f"{GRPO} --reward python:mine:reward"),
    "a reward that raises": Mistake(f"{GRPO} --reward python:mine:reward", {"mine.py": RAISES}),
    "a temperature at which nothing differs": Mistake(
        f"{GRPO} --reward length rollout.sampling.temperature=0"
    ),
    # the machine
    "a full disk": Mistake(SFT, under=full_disk),
    "two runs in one folder": Mistake(SFT, under=another_run),
    "a batch that ranks do not divide": Mistake(f"{SFT} batch_size=3 --ranks 2"),
    "adapters without peft": Mistake(f"{SFT} lora.r=4", under=without("peft")),
    "a tracker that is not installed": Mistake(
        f"{SFT} trackers=[tensorboard]", under=without("tensorboard", "torch.utils.tensorboard")
    ),
    "memory that does not suffice": Mistake(SFT, under=full_memory),
    "a fault of Accord's own": Mistake("explain lr", under=broken, code=70),
    "a server without its extra": Mistake("serve model", under=without("starlette", "uvicorn")),
    "no torch": Mistake("generate --model model --prompt a", under=without("torch")),
    # studies, comparisons, reports
    "a variant that changes nothing": Mistake(
        "study study.yaml --plan", study("dpo.beta: 0.5", "dpo.beta: 0.1")
    ),
    "a variant of a key that is none": Mistake(
        "study study.yaml --plan", study("dpo.beta: 0.5", "dpo.betta: 0.5")
    ),
    "a study of a recipe that is not there": Mistake(
        "study study.yaml --plan", study("recipe.yaml", "recipes.yaml")
    ),
    "a recipe for a study": Mistake("study recipe.yaml"),
    "memory that is no size": Mistake("study study.yaml --memory lots"),
    "a report of a folder without a run": Mistake("report model"),
    "a comparison with a run that is not there": Mistake("compare model modle"),
    "a comparison of a folder that is no run": Mistake("compare model other"),
    "an audit of a language model": Mistake("audit model --data pairs.jsonl"),
    # serving and giving away
    "an open address without a key": Mistake("serve model --host 0.0.0.0"),
    "a port that is taken": Mistake("serve model --port {port}", under=taken_port),
    "a port that is none": Mistake("serve model --port 70000"),
    "a format that is none": Mistake("convert model --to gptq"),
    "a conversion that stands": Mistake("convert model --to gguf", prepare=gguf_stands),
    "a conversion without its extra": Mistake("convert model --to int8", under=without("torchao")),
    "a push without a card": Mistake("push model me/mine --yes"),
    "a push to a name that is none": Mistake("push model mine --yes", prepare=card),
    "a push without a login": Mistake("push model me/mine --yes", prepare=card, under=offline),
    "a model of the hub, offline": Mistake(
        "generate --model hub:owner/name --prompt a", under=offline
    ),
    "a merge of a whole model": Mistake("merge model --out merged"),
    "an import of a file that is no GGUF": Mistake("import chat.jsonl --out new"),
}

FROM_A_SHELL = (
    "a recipe that is not there",
    "a typo in a key",
    "a data file that is not there",
    "a model that came half",
    "an unknown command",
    "an open address without a key",
)
"""Run as processes too: what they say is the same."""

"""A whole model from an adapter and its base."""

from pathlib import Path

from accord.checkpoint.adapter_folder import (
    ADAPTER_CONFIG,
    is_adapter,
    tokenizer_folder,
    whole_folder,
)
from accord.checkpoint.folder import CONFIG, load_model, save_model
from accord.errors import AccordError
from accord.pipeline.execute import local_folder
from accord.text.tokenizer import Tokenizer

CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- accord
---

# {name}

The adapter `{adapter}` merged into `{base}` with [Accord](#how-to-load-it): added in float32 and
stored in the base's precision.

## How to load it

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
```
"""


def merge(adapter: str | Path, out: str | Path) -> Path:
    """Write an adapter merged into its base as a Hugging Face folder; gives that folder.

    Weights are added in float32 and stored in the base's dtype, beside the adapter's tokenizer.

    Args:
        adapter: A peft folder, or `hub:owner/name`.
        out: Where to; a folder without a model.

    Raises:
        AccordError: There is no such adapter, it is more than plain LoRA, or its base is missing;
            `out` holds a model.
    """
    folder, out = local_folder(str(adapter)), Path(out)
    if not is_adapter(folder):
        raise AccordError(
            "There is no adapter to merge: the folder is not there or is a whole model.",
            str(folder),
            f"give a folder with {ADAPTER_CONFIG}, such as a stage with lora leaves",
        )
    for name in (CONFIG, ADAPTER_CONFIG):
        if (out / name).exists():
            raise AccordError(
                f"The folder holds a model already ({name}).",
                str(out),
                "give another folder as --out; nothing was changed",
            )
    tokenizer = Tokenizer.load(tokenizer_folder(folder))
    names = {"name": out.name, "adapter": folder.name, "base": whole_folder(folder).name}
    save_model(load_model(folder), out, tokenizer, card=CARD.format(**names))
    return out

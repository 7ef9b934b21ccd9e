"""Every exported family in vLLM as in transformers: `make interop` (docs/families.md).

Run by the Python of an environment that has vLLM (docs/vllm.md) and Accord. Exit 0: every token was
the same and the server stopped where a turn ends.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from interop_models import FAMILIES, write

PROMPTS = (4, 40, 300, 600)
"""Lengths in tokens: within and beyond every window and every length before scaling."""
NEW = 48
MESSAGES = [{"role": "user", "content": "hello world"}]
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
READY_S = 280


def compare(name: str, folder: Path) -> dict[str, Any]:
    """Greedy tokens of one family in both, and the largest difference of transformers' logits."""
    import torch
    import transformers
    from vllm import LLM, SamplingParams

    from accord.model.plan import Plan

    decoder = write(name, folder)
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    rng = random.Random(0)
    prompts = [[rng.randrange(5, 250) for _ in range(length)] for length in PROMPTS]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = torch.tensor(prompts[-1])
    with torch.no_grad():
        hidden = decoder(ids, torch.arange(len(ids)), Plan.dense(1, len(ids)))
        apart = (decoder.logits(hidden) - model(ids[None]).logits[0]).abs().max()
    fixed = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    want = [
        model.generate(torch.tensor([prompt]), **fixed)[0, len(prompt) :].tolist()
        for prompt in prompts
    ]
    engine = LLM(model=str(folder), dtype="float32", enforce_eager=True, max_num_seqs=4)
    sampling = SamplingParams(temperature=0, max_tokens=NEW, min_tokens=NEW)
    asked = [{"prompt_token_ids": prompt} for prompt in prompts]
    done = engine.generate(asked, sampling, use_tqdm=False)
    found = [list(output.outputs[0].token_ids) for output in done]
    # one engine at a time: vLLM ends what a second one would share
    del engine
    gc.collect()
    pairs = zip(found, want, strict=True)
    return {
        "model_type": model_type,
        "same": [sum(a == b for a, b in zip(one, other, strict=True)) for one, other in pairs],
        "different_tokens": len({token for row in want for token in row}),
        "logits_apart": float(apart),
        "ok": found == want and model_type == FAMILIES[name][0],
    }


def serve(name: str, folder: Path) -> dict[str, Any]:
    """What `vllm serve` answers to a chat request, free and with the turn's end made likely."""
    write(name, folder)
    end = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    ends = end if isinstance(end, list) else [end]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--vllm", "serve", str(folder), "--dtype", "float32"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"]
    command += ["--enforce-eager", "--max-model-len", "256"]
    with (folder / "serve.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        base = f"http://127.0.0.1:{port}"
        _wait(server, base)
        asked = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 12}
        plain = _post(base, asked)
        stops = [_post(base, {**asked, "logit_bias": {str(token): 100}}) for token in ends]
        reasons = [answer["choices"][0]["finish_reason"] for answer in stops]
        lengths = [answer["usage"]["completion_tokens"] for answer in stops]
        return {
            "answer_tokens": plain["usage"]["completion_tokens"],
            "ends": ends,
            "reasons": reasons,
            "lengths": lengths,
            "ok": reasons == ["stop"] * len(ends) and lengths == [1] * len(ends),
        }
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(server: subprocess.Popen[bytes], base: str) -> None:
    started = time.monotonic()
    while time.monotonic() - started < READY_S:
        if server.poll() is not None:
            raise SystemExit(f"vllm serve ended with {server.returncode}")
        try:
            urllib.request.urlopen(f"{base}/health", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"vllm serve was not ready after {READY_S} s")


def _post(base: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{base}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def vllm_command(arguments: list[str]) -> None:
    """The `vllm` command, also where the distribution is called vllm-cpu."""
    version = importlib.metadata.version

    def named(name: str) -> str:
        try:
            return version(name)
        except importlib.metadata.PackageNotFoundError:
            return version(f"{name}-cpu") + "+cpu"

    importlib.metadata.version = named
    from vllm.entrypoints.cli.main import main

    sys.argv = ["vllm", *arguments]
    main()


def told(mode: str, name: str, found: dict[str, Any], seconds: float) -> None:
    """Print what was found as one line of JSON."""
    print(json.dumps({"mode": mode, "name": name, "seconds": round(seconds), **found}), flush=True)


def run(mode: str, names: list[str]) -> bool:
    """Families in a process of their own, whose lines are passed on; whether all agreed."""
    process = subprocess.Popen(
        [sys.executable, __file__, mode, *names],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    assert process.stdout is not None
    agreed = 0
    for line in process.stdout:
        # vLLM's own lines go to the same place
        if line.startswith("{"):
            print(line, end="", flush=True)
            agreed += json.loads(line)["ok"]
    return process.wait() == 0 and agreed == len(names)


def work(mode: str, names: list[str]) -> None:
    """Compare or serve each family, in this process."""
    for name in names:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = MODES[mode](name, Path(folder))
        told(mode, name, found, time.monotonic() - started)


def main() -> int:
    """Compare the families named, or all, and ask a server of the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help=f"of: {', '.join(FAMILIES)}")
    asked = parser.parse_args().families
    unknown = [name for name in asked if name not in FAMILIES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(FAMILIES)}")
    names = asked or list(FAMILIES)
    compared = run("--compare", names)
    served = run("--serve", names[:1])
    return 0 if compared and served else 1


MODES = {"--compare": compare, "--serve": serve}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--vllm"]:
        vllm_command(sys.argv[2:])
    elif sys.argv[1:2] and sys.argv[1] in MODES:
        work(sys.argv[1], sys.argv[2:])
    else:
        sys.exit(main())

"""Every exported family in vLLM as in transformers: `make interop` (docs/families.md).

Run by the Python of an environment that has vLLM (docs/vllm.md) and Accord. Exit 0: every token was
the same and the server stopped where a turn ends.
"""

import argparse
import importlib.metadata
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
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
LIMIT_S = 480
"""Seconds for one family; on two idle cores it takes about 20."""
MARK = "found: "
ROOT = Path(__file__).parents[1]
OUT, PAGE = ROOT / "benchmarks" / "results" / "interop.json", ROOT / "docs" / "vllm.md"
BEGIN, END = "<!-- interop: written by make interop -->", "<!-- /interop -->"


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


def work(mode: str, name: str) -> None:
    """Compare or serve one family, in this process; what was found is its last line."""
    with tempfile.TemporaryDirectory() as folder:
        found = MODES[mode](name, Path(folder))
    print(MARK + json.dumps(found), flush=True)


def run(mode: str, name: str) -> dict[str, Any]:
    """One family in a process of its own, of which nothing is left afterwards."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, __file__, mode, name],
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # engines and servers are processes too, and outlive one that was cut short
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        lines = said.read().splitlines()
    row: dict[str, Any] = {"mode": mode.removeprefix("--"), "name": name}
    row["seconds"] = round(time.monotonic() - started)
    # vLLM's own lines go to the same place
    found = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    if code == 0 and found:
        return {**row, **json.loads(found[-1])}
    why = f"more than {LIMIT_S} s" if code is None else f"ended with {code}"
    return {**row, "ok": False, "error": why, "said": lines[-8:]}


def shown(row: dict[str, Any]) -> str:
    """A row of the table in docs/vllm.md."""
    verdict = "yes" if row["ok"] else f"**no**{': ' + row['error'] if 'error' in row else ''}"
    if row["mode"] == "serve":
        return f"| `vllm serve`, {row['name']} | | {row.get('reasons', '')} | | {verdict} |"
    same = ", ".join(map(str, row.get("same", ())))
    apart = f"{row['logits_apart']:.1e}" if "logits_apart" in row else ""
    return f"| {row['name']} | `{row.get('model_type', '')}` | {same} | {apart} | {verdict} |"


def table(rows: list[dict[str, Any]]) -> str:
    """All rows as Markdown."""
    return "\n".join(
        [
            f"| family | `model_type` | same of {NEW}, prompts of {', '.join(map(str, PROMPTS))} | "
            "logits apart | agrees |",
            "|---|---|---|---|---|",
            *map(shown, rows),
        ]
    )


def record(rows: list[dict[str, Any]]) -> None:
    """Keep the figures of a whole run, and put its table in its place in docs/vllm.md."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    OUT.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if after:
        PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Compare the families named, or all, and ask a server of the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help=f"of: {', '.join(FAMILIES)}")
    asked = parser.parse_args().families
    unknown = [name for name in asked if name not in FAMILIES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(FAMILIES)}")
    rows = []
    names = asked or list(FAMILIES)
    for mode, name in (*(("--compare", name) for name in names), ("--serve", names[0])):
        rows.append(run(mode, name))
        print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    if not asked:
        record(rows)
    return 0 if all(row["ok"] for row in rows) else 1


MODES = {"--compare": compare, "--serve": serve}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--vllm"]:
        vllm_command(sys.argv[2:])
    elif sys.argv[1:2] and sys.argv[1] in MODES:
        work(sys.argv[1], sys.argv[2])
    else:
        sys.exit(main())

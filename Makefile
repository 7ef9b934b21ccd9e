# Two commands on a fresh machine: `make demo` and `make test`. Each makes its environment if missing.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# spinning OpenMP threads on a busy two-core box are up to 40x slower than sleeping ones
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test check study-fast bench bench-diagnosis interop interop-gguf battery docs format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train and align a small model on real text, then open runs/quickstart/report.html"
	@echo "make test    the test suite"
	@echo "make check   format, lint, types, rooms, tests, docs: what CI runs"
	@echo "make interop every exported family in vLLM as in transformers (VLLM=environment)"
	@echo "make interop-gguf exported GGUF files in llama.cpp (LLAMACPP=environment)"
	@echo "make study-fast   the study of alignment algorithms in minutes, with its report"
	@echo "make bench   speed and memory beside transformers, TRL and a plain loop"
	@echo "make battery kills, damage, bad data and hostile files, and what comes of them (KILLS=100)"
	@echo "make bench-diagnosis   planted faults and healthy runs, and what is found in them"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch first and pinned: nothing that follows may replace a CPU build by one that brings CUDA
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[rewards]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/accord run recipes/quickstart.yaml

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(MAKE) test
	$(MAKE) docs

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --quiet

# SFT, reward models, DPO, PPO and GRPO in four variants and two seeds, with its page: minutes
study-fast: $(VENV)/.core
	OMP_NUM_THREADS=1 $(BIN)/accord study recipes/rlhf-study.yaml --fast --workers 2

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

bench-diagnosis: $(VENV)/.dev
	$(BIN)/python benchmarks/diagnosis/run.py

KILLS ?= 100
battery: $(VENV)/.dev
	$(BIN)/python -P benchmarks/battery/run.py --kills $(KILLS)

# VLLM: an environment that has vLLM and Accord (docs/vllm.md); FAMILIES: some of those of the table
VLLM ?= .venv-vllm
interop:
	$(VLLM)/bin/python benchmarks/interop.py $(FAMILIES)

# LLAMACPP: an environment with xllamacpp, which brings a built llama.cpp (docs/convert.md)
LLAMACPP ?= .venv-llamacpp
interop-gguf: $(VENV)/.dev
	$(BIN)/python benchmarks/gguf_llamacpp.py --llamacpp $(LLAMACPP)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build site .pytest_cache .ruff_cache

"""What the doctor finds has a shape that scripts can rely on."""

import json

import pytest

from accord.cli import doctor


@pytest.fixture(scope="module")
def findings():
    return doctor.examine()


def test_findings_are_json_with_every_part(findings):
    read = json.loads(json.dumps(findings))
    assert set(read) == {
        "hardware", "libraries", "extras", "torch", "threads", "matmul_gflops", "cache", "hub",
        "problems", "advice",
    }  # fmt: skip
    assert read["hardware"]["usable_cores"] >= 1
    assert read["libraries"]["torch"]
    assert {"hf", "rewards", "track", "dev"} <= set(read["extras"])
    assert read["extras"]["hf"]["install"] == "pip install 'accord[hf]'"
    assert {"fp32", "bf16"} == set(read["matmul_gflops"])
    assert min(read["matmul_gflops"].values()) > 0
    assert str(read["threads"]["best"]) in read["threads"]["small_product_ms"]
    assert read["hub"]["reachable"] is None


def test_every_finding_has_a_line(findings):
    text = "\n".join(doctor.lines(findings))
    for word in ("processor", "memory", "disk", "GPUs", "threads", "products", "cache", "hub"):
        assert f"\n{word} " in "\n" + text
    assert findings["hardware"]["machine"] in text
    for sentence in findings["advice"]:
        assert sentence in text


def changed(findings, **parts):
    return {**findings, **{key: {**findings[key], **value} for key, value in parts.items()}}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"libraries": {"torch": None}}, "torch is missing: pip install 'torch'"),
        ({"hardware": {"disk_free_bytes": 10**8}}, "of disk are free"),
        ({"hub": {"reachable": False}}, "the hub cannot be reached"),
    ],
)
def test_problems(findings, parts, said):
    assert said in "\n".join(doctor.problems(changed(findings, **parts)))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"threads": {"best": 1}, "hardware": {"usable_cores": 2}}, "set OMP_NUM_THREADS=1"),
        ({"threads": {"OMP_WAIT_POLICY": None}}, "set OMP_WAIT_POLICY=PASSIVE"),
        ({"threads": {"used": 9}, "hardware": {"usable_cores": 2}}, "more than the 2 usable"),
        ({"matmul_gflops": {"fp32": 100.0, "bf16": 300.0}}, "3.0 times as fast"),
        ({"matmul_gflops": {"fp32": 100.0, "bf16": 90.0}}, "leave precision=fp32"),
        ({"torch": {"compiler": None}}, "no C++ compiler"),
        ({"torch": {"cuda_build": "13.0"}, "hardware": {"gpus": []}}, "its CPU build"),
        ({"torch": {"needless_packages": ["nvidia-x"]}}, "pip uninstall nvidia-x"),
        ({"hardware": {"memory_bytes": 2**30}}, "1.0 GiB of memory"),
        (
            {"extras": {"hf": {"present": False, "missing": ["transformers"], "install": "pip i"}}},
            "the extra 'hf' is missing (transformers): pip i",
        ),
    ],
)
def test_advice(findings, parts, said):
    assert said in "\n".join(doctor.advice(changed(findings, **parts)))

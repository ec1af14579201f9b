"""What a stage costs before its work begins: little beyond torch, and no library that waits."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.pipeline.project import ROOT, environment

STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])

LATE = (
    "segmentation_models_pytorch",
    "timm",
    "torchvision",
    "torchmetrics",
    "scipy",
    "torch._dynamo",
)
"""Slow to import, so imported by the function that needs it, in the stages that call that."""

SHARE = 0.5
"""Of the time that torch takes to import, at most; a fifth is usual, torchvision alone is 0.8."""

TRIES = 3
"""Of which the quickest counts: what else runs on the machine makes one slower, never quicker."""

START = """
import json, sys, time
before = time.process_time()
import torch
known, between = set(sys.modules), time.process_time()
import stages.{stage}
after = time.process_time()
print(json.dumps({{
    "torch": between - before, "beyond": after - between, "loaded": sorted({{*sys.modules}} - known)
}}))
"""

IMPORT_LATE = """
import importlib, json, random, sys
import numpy, torch

def state():
    return repr([
        torch.get_rng_state().tolist(),
        random.getstate(),
        numpy.random.get_state()[1].tolist(),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.is_grad_enabled(),
        numpy.geterr(),
    ])

before = state()
for name in {names}:
    importlib.import_module(name)
print(json.dumps(state() == before))
"""

LAUNCH = """
import json, sys
known = set(sys.modules)
import ppl.run.launch
print(json.dumps(sorted({name.split(".")[0] for name in {*sys.modules} - known})))
"""


def said(code: str) -> Any:
    """What a new Python says that runs `code` in the project's root."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_starts_at_once(stage: str) -> None:
    """Both times are of the processor and of one process: a slow or busy machine slows both."""
    shares: list[float] = []
    while not shares or (min(shares) > SHARE and len(shares) < TRIES):
        start = said(START.format(stage=stage))
        assert [name for name in LATE if name in start["loaded"]] == []
        shares.append(start["beyond"] / start["torch"])
    assert min(shares) <= SHARE, shares


def test_what_is_imported_late_draws_nothing_and_sets_nothing() -> None:
    """Else it would matter to a result when, and by which stage, it is imported."""
    assert said(IMPORT_LATE.format(names=LATE))


def test_the_launcher_imports_only_the_standard_library() -> None:
    """It runs before every stage."""
    assert {*said(LAUNCH)} <= sys.stdlib_module_names | {"ppl"}

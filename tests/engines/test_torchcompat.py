"""torchvision from PyPI loads beside a CPU build of torch, and resizes as it should."""

from __future__ import annotations

import subprocess
import sys

import torch

LOAD = "from avrt.engines import torchcompat; import torchvision; print(torchcompat.shimmed)"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_torchvision_imports_after_it():
    done = run_python(LOAD)
    assert done.returncode == 0, done.stderr
    if done.stdout.strip() == "True":
        alone = run_python("import torchvision")
        assert alone.returncode != 0, "the operators are declared although nothing is missing"


def test_resizing_works():
    from avrt.engines import torchcompat  # noqa: F401

    from torchvision.transforms.v2 import functional  # isort: skip

    picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    picture[:, :, 4:] = 255
    small = functional.resize(picture, [4, 4], antialias=True)
    assert small.shape == (3, 4, 4)
    assert (small[:, :, 0] == 0).all()
    assert (small[:, :, -1] == 255).all()

"""A process that reads the clips it is told to and answers with the CPU time that each took.

`media.py` starts it as `PYTHON media_peers.py avrt` or `PYTHON media_peers.py qwen`. The first line
it writes holds its versions; then one JSON line in, {"path": …}, gives one JSON line out.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Read = Callable[[str], Any]


def open_avrt() -> tuple[Read, list[str]]:
    """`read_clip` with the default settings: 8 frames and the first 10 s of sound."""
    from avrt.config import MediaConfig
    from avrt.media import read_clip

    return lambda path: read_clip(Path(path), MediaConfig(), "av"), ["av", "numpy", "soxr"]


def open_qwen() -> tuple[Read, list[str]]:
    """qwen-omni-utils with the same number and size of frames, its sound from the same file."""
    import torch

    import_torchvision(torch)
    os.environ["FORCE_QWENVL_VIDEO_READER"] = "torchcodec"
    from qwen_omni_utils import process_mm_info

    torch.set_num_threads(1)

    def read(path: str) -> Any:
        video = {"type": "video", "video": path, "nframes": 8, "max_pixels": 602_112}
        return process_mm_info([{"role": "user", "content": [video]}], use_audio_in_video=True)

    return read, ["qwen-omni-utils", "torchcodec", "torch", "librosa"]


def import_torchvision(torch: Any) -> None:
    """Beside a torch for CPUs only, torchvision from PyPI lacks the schemas of two operators."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        import_torchvision.library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            import_torchvision.library.define(name + schema)


def cpu_s() -> float:
    """CPU seconds of this process and of its finished children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    read, packages = {"avrt": open_avrt, "qwen": open_qwen}[sys.argv[1]]()
    print(json.dumps({package: version(package) for package in packages}), file=answers, flush=True)
    for line in sys.stdin:
        before = cpu_s()
        read(json.loads(line)["path"])
        print(json.dumps({"cpu_s": cpu_s() - before}), file=answers, flush=True)


if __name__ == "__main__":
    main()

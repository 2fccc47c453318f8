"""Download the annotation files of a dataset from the Hugging Face Hub.

Media are not downloaded: they are large, mostly packed, and at times behind a form. `avrt list
benchmarks` explains for each set how to get them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avrt.errors import ConfigError

__all__ = ["fetch_annotations"]


def fetch_annotations(repo: str, root: Path, names: Sequence[str]) -> None:
    """Download the named files that the dataset `repo` has into `root`.

    Raises:
        ConfigError: the Hub cannot be reached, has no such dataset, or has none of the files.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        snapshot_download(repo, repo_type="dataset", local_dir=root, allow_patterns=list(names))
    except HFValidationError as error:
        raise ConfigError(f"data.hub={repo}: not the id of a dataset: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"data.hub={repo}: cannot download its annotations ({', '.join(names)}): "
            f"{type(error).__name__}; copy them into {root}, or try again with a network, and with "
            "HF_TOKEN set for a dataset behind a form"
        ) from error
    if not any((root / name).is_file() for name in names):
        raise ConfigError(
            f"data.hub={repo}: has none of {', '.join(names)}; download them from the authors' "
            f"repository into {root}"
        )

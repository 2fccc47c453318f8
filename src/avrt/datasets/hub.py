"""Annotation files of a dataset on the Hugging Face Hub, into the folder where they belong.

Only annotations: media are large, mostly packed, and at times behind a form; `avrt list benchmarks`
says for each set how they get there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avrt.errors import ConfigError

__all__ = ["fetch_annotations"]


def fetch_annotations(repo: str, root: Path, names: Sequence[str]) -> None:
    """Download those of the files that the dataset `repo` has into `root`.

    Raises:
        ConfigError: the Hub cannot be reached or has no such dataset, or that has none of the
        files.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        snapshot_download(repo, repo_type="dataset", local_dir=root, allow_patterns=list(names))
    except HFValidationError as error:
        raise ConfigError(f"data.hub={repo}: not the id of a dataset: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"data.hub={repo}: its annotations ({', '.join(names)}) could not be fetched: "
            f"{type(error).__name__}; put them into {root} by hand, or try again with a network "
            "and, for a dataset behind a form, with HF_TOKEN set"
        ) from error
    if not any((root / name).is_file() for name in names):
        raise ConfigError(
            f"data.hub={repo}: has none of {', '.join(names)}; get them from the authors' "
            f"repository and put them into {root}"
        )

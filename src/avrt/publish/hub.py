"""The way of a finished folder to the Hub: who may push, where to, and the upload.

The decision to question: a repository that is new is private unless asked for otherwise, and one
that holds anything is only written when AVRT wrote it: a slip in the name must not bury the work of
another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avrt.errors import AvrtError, ConfigError, install_command
from avrt.publish.provenance import CACHE, RECORD
from avrt.texts import read_json

__all__ = ["check_repo", "push", "require_token"]

_TYPES = {"dataset": "dataset", "model": "model", "report": "space"}


def check_repo(option: str, repo: str) -> None:
    """Refuse what is no name of a repository; `option` gave it.

    Raises:
        ConfigError: not of the form NAME/ID, or with characters that the Hub does not take.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"{option} {repo}: {error}") from error
    if repo.count("/") != 1:
        raise ConfigError(
            f"{option} {repo}: must be NAME/ID, the owner and the name of the repository"
        )


def require_token() -> str:
    """The token of this user for the Hub.

    Raises:
        ConfigError: there is none, or the Hub may not be asked.
    """
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise ConfigError("--push: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it")
    token = get_token()
    if not token:
        raise ConfigError(
            "--push: no token for the Hub; run `hf auth login`, or set HF_TOKEN to a token that "
            "may write"
        )
    return token


def push(folder: Path, repo: str, kind: str, message: str, token: str, public: bool) -> str:
    """Upload a folder; files that AVRT pushed before and that are gone are removed there.

    Returns the address of the commit.

    Raises:
        ConfigError: the repository holds what AVRT did not write.
        AvrtError: the Hub refused, or could not be reached.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi(token=token)
    kind_there = _TYPES[kind]
    with _explaining(f"{repo} at {api.endpoint}", folder):
        if api.repo_exists(repo, repo_type=kind_there):
            gone = _left_behind(api, repo, kind_there, folder)
        else:
            sdk = "static" if kind_there == "space" else None
            api.create_repo(repo, repo_type=kind_there, private=not public, space_sdk=sdk)
            gone = []
        commit = api.upload_folder(
            repo_id=repo,
            repo_type=kind_there,
            folder_path=folder,
            commit_message=message,
            ignore_patterns=[f"{CACHE}/**"],
            delete_patterns=gone or None,
        )
    return str(commit.commit_url)


def _left_behind(api: Any, repo: str, kind: str, folder: Path) -> list[str]:
    """The files of AVRT in a repository that the folder has no more."""
    there = set(api.list_repo_files(repo, repo_type=kind)) - {".gitattributes"}
    if not there:
        return []
    if RECORD not in there:
        raise ConfigError(
            f"--repo {repo}: holds {min(there)}, which AVRT did not write; name another repository"
        )
    with _record_of(api, repo, kind) as record:
        written = set(record.get("files", {})) if isinstance(record, dict) else set()
    return sorted(name for name in written & there if not (folder / name).is_file())


@contextmanager
def _record_of(api: Any, repo: str, kind: str) -> Iterator[Any]:
    import tempfile

    with tempfile.TemporaryDirectory() as cache:
        path = api.hf_hub_download(repo, RECORD, repo_type=kind, cache_dir=cache)
        yield read_json(Path(path))


@contextmanager
def _explaining(place: str, folder: Path) -> Iterator[None]:
    from huggingface_hub import errors

    faults: Any = (OSError, vars(errors)["HTTPError"], errors.HfHubHTTPError)
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"--push: {error}; run: {install_command('train')}") from error
    except faults as error:
        said = str(error).strip().splitlines()
        raise AvrtError(
            f"--push: {place}: {said[0] if said else type(error).__name__}; see that the token may "
            f"write there, then repeat the command: {folder} is complete"
        ) from error

"""The configurations inside the package: beside its code when installed, else in the checkout."""

from __future__ import annotations

from pathlib import Path

from avrt.errors import ConfigError

__all__ = ["packaged_config", "packaged_configs"]


def packaged_configs() -> dict[str, Path]:
    """The packaged configurations by name, such as `paper`."""
    package = Path(__file__).parents[1]
    folders = [package / "configs", package.parents[1] / "configs"]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def packaged_config(name: str) -> Path:
    """The file of a packaged configuration.

    Raises:
        ConfigError: there is none of that name.
    """
    known = packaged_configs()
    if name not in known:
        raise ConfigError(
            f"{name}: no such configuration in the package; known: {', '.join(known) or 'none'}"
        )
    return known[name]

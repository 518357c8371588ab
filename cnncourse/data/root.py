"""The folder that holds the real data sets."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "CNNCOURSE_DATA"


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The data root as an absolute path: `root`, else ``CNNCOURSE_DATA``, else a folder of the user's cache.

    Nothing is created. A relative path counts from the working directory, so whoever starts a process in another
    folder has to hand on the absolute path.
    """
    root = root or os.environ.get(VARIABLE)
    if not root:
        from platformdirs import user_cache_path

        root = user_cache_path("cnncourse", appauthor=False) / "data"
    return Path(root).expanduser().absolute()


def origin(root: Path) -> str:
    """How `root` came to be the data root, as a parenthesis; empty for a folder that was handed over."""
    if root != data_root():
        return ""
    return f" (from {VARIABLE})" if os.environ.get(VARIABLE) else f" ({VARIABLE} is not set)"


def misplaced(root: Path, folder: str, witness: str) -> str:
    """A sentence about data that lie next to the place where they should be; empty when there are none.

    Parameters
    ----------
    root : Path
        The data root.
    folder : str
        Name of the folder in `root` that should hold the data.
    witness : str
        Something that is in that folder.
    """
    if not os.path.exists(root / witness):
        return ""
    if root.name == folder:
        return f"The data are in {root}: set {VARIABLE} to {root.parent}."
    return f"The data are in {root}: move them to {root / folder}."

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

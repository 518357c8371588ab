"""Decoded images, kept in the user's cache as one file per folder, so that JPEG files are decoded only once."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def location() -> Path:
    """The folder of the cache; it may be deleted at any time."""
    from platformdirs import user_cache_path

    return user_cache_path("cnncourse", appauthor=False) / "images"


def load(name: str, key: str, *wanted: str) -> dict[str, np.ndarray] | None:
    """The arrays named `wanted` of the entry `name`, if it was stored under the same `key` and is intact."""
    import numpy as np

    try:
        # Reading an array to its end makes zipfile compare its CRC-32 with the stored one.
        with np.load(location() / f"{name}.npz", allow_pickle=False) as entry:
            return {array: entry[array] for array in wanted} if entry["key"].item() == key else None
    except FileNotFoundError:
        return None
    except Exception:  # whatever a damaged entry provokes: it is made again
        return None


def store(name: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep `arrays` as the entry `name`, in place of what it held before.

    A cache that cannot be written is no reason to stop: it costs time, and a warning says so.
    """
    import numpy as np

    folder = location()
    scratch = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".npz", delete=False) as file:
            scratch = Path(file.name)
            np.savez(file, key=np.array(key), **arrays)
        os.replace(scratch, folder / f"{name}.npz")
    except OSError as error:
        warnings.warn(
            f"The decoded images could not be kept in {folder} ({error.strerror or error}): "
            "they will be decoded again the next time.",
            stacklevel=2,
        )
    finally:
        if scratch:
            scratch.unlink(missing_ok=True)

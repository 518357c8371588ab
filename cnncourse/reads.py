"""What a page reads of the committed results and of the ledger: named, and hashed, so that its change is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cnncourse.project import committed

MISSING = "missing"


def name(path: Path, notebook: str = "") -> str:
    """'results/laptop/02_numpy_mlp.json', or 'claims/ift6135.yml#02_numpy_mlp': only that notebook's claims."""
    kind = "results" if path.suffix == ".json" else "claims"
    return f"{kind}/{path.relative_to(committed(kind)).as_posix()}" + (f"#{notebook}" if notebook else "")


def content(name: str) -> str:
    """sha256 of what a name stands for now, or 'missing'.

    Of a ledger only the claims of one notebook count: an edit of another notebook's claims must not execute this one
    again, a claim that comes or goes must.
    """
    file, _, notebook = name.partition("#")
    kind, _, rest = file.partition("/")
    path = committed(kind) / rest
    if not path.is_file():
        return MISSING
    data = path.read_bytes()
    if notebook:
        from cnncourse.claims import ledger

        claims = [claim.model_dump(mode="json") for claim in ledger.read(path).claims if claim.notebook == notebook]
        data = json.dumps(claims, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()

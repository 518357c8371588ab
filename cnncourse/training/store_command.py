"""`cnncourse store`: what the experiment store holds, as text."""

from __future__ import annotations

import json
from pathlib import Path

from cnncourse.errors import CourseError
from cnncourse.training.store import VARIABLE, Record, Store, default_store


def opened(folder: Path | None) -> Store:
    """The store in a folder, or the default one. CourseError when it is switched off."""
    store = default_store() if folder is None else Store(folder)
    if store is None:
        raise CourseError(f"The experiment store is switched off: {VARIABLE} is 'off'.", "Pass --folder, or unset it.")
    return store


def listing(store: Store, as_json: bool = False) -> str:
    """One line for each record: key, what was trained, on what, with which outcome."""
    records = store.records()
    if as_json:
        return json.dumps([_plain(record) for record in records], indent=2)
    total = sum(record.bytes for record in records) / 1e6
    return "\n".join([*map(_line, records), f"{len(records)} trainings, {total:.1f} MB in {store.folder}"])


def inspection(store: Store, key: str) -> str:
    """Everything about the record whose key begins so, as JSON."""
    return json.dumps(_plain(store.find(key)), indent=2)


def _line(record: Record) -> str:
    e, about = record.experiment, record.about
    if not e:
        return f"{record.key[:10]}  damaged: {record.path}"
    accuracy = "" if record.accuracy is None else f", test accuracy {100 * record.accuracy:.2f} %"
    notes = ", with weights" * record.has_weights + ", by other code" * (not record.current)
    images = f" first {e['num_images']:,} of" if e["num_images"] else ""
    return (
        f"{record.key[:10]}  {e['model']} on{images} {about['data']}: {e['optimizer']}, lr {e['lr']:g}, "
        f"batch {e['batch_size']}, {e['num_epochs']} epochs, seed {e['seed']}; {record.outcome}{accuracy} "
        f"({about['device_name']}, {about['finished']}{notes})"
    )


def _plain(record: Record) -> dict:
    return {
        "key": record.key,
        "experiment": record.experiment,
        "about": record.about,
        "outcome": record.outcome,
        "test_accuracy": record.accuracy,
        "weights": record.has_weights,
        "current": record.current,
        "bytes": record.bytes,
        "path": str(record.path),
    }

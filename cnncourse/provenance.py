"""How a result came about: device, versions, commit, data; and the stamp that a page shows."""

from __future__ import annotations

import html
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from cnncourse.results import Provenance

_PACKAGES = ("cnncourse", "numpy", "torch", "torchvision")


def versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on most."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path) -> str | None:
    """Short hash of the checkout's commit, with ``+`` when tracked files differ from it; None outside a checkout.

    A bundle has no checkout: its commit comes in the variable CNNCOURSE_COMMIT.
    """
    if carried := os.environ.get("CNNCOURSE_COMMIT"):
        return carried
    try:
        commit = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
        if commit.returncode:
            return None
        # Only the code that computes counts: refreshed results and edited pages do not make a run dirty.
        changed = subprocess.run(
            ["git", "-C", str(folder), "diff", "--quiet", "HEAD", "--", "cnncourse", "notebooks/*.ipynb"],
            capture_output=True,
            timeout=10,
        )
        return commit.stdout.strip() + ("+" if changed.returncode else "")
    except (OSError, subprocess.TimeoutExpired):
        return None


def device_name(device: str) -> str:
    """Name of the processor or accelerator that `device` ('cpu', 'cuda', 'cuda:1', 'mps') stands for."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    if device == "cpu" and Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def stamp_text(provenance: Provenance) -> str:
    """The part of the stamp that is the same on every machine: one line per fact."""
    data = "; ".join(
        f"{d.name} ({d.kind}, {', '.join(f'{k} {n:,}' for k, n in d.sizes.items())}, sha256 {d.sha256[:12]})"
        for d in provenance.data
    )
    return f"profile: {provenance.profile}\ndata: {data or 'none'}\nseeds: {', '.join(map(str, provenance.seeds))}"


def stamp_html(provenance: Provenance, trainings: str = "") -> str:
    """The whole stamp as a small table; `trainings` says which were made and which were found in the store."""
    packages = ", ".join(f"{name} {version}" for name, version in provenance.packages.items())
    threads = (
        f", {provenance.threads} thread{'s' if provenance.threads > 1 else ''}" if provenance.device == "cpu" else ""
    )
    facts = [line.split(": ", 1) for line in stamp_text(provenance).splitlines()] + [
        ["device", f"{provenance.device_name} ({provenance.device}{threads})"],
        ["software", f"Python {provenance.python}, {packages}"],
        ["commit", provenance.commit or "not known"],
        ["finished", f"{provenance.finished}, after {provenance.wall_time_s:.0f} s"],
    ]
    if trainings:
        facts.insert(-1, ["trainings", trainings])
    rows = "".join(f"<tr><th scope='row'>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in facts)
    return f"<table class='cnncourse-provenance'><caption>How this page was computed</caption>{rows}</table>"

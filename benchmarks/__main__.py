"""``python -m benchmarks [NAME ...]``: measure, print a table, write JSON."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

BENCHMARKS = {
    "loader": "loader",
    "training-step": "training_step",
    "loop-overhead": "loop_overhead",
    "sweep": "sweeping",
    "gradient-check": "gradient_check",
    "import": "importing",
}


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(BENCHMARKS)} (default: all).")] = None,
    device: Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda'.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch on the CPU (default: one).")] = 1,
    output: Annotated[Path | None, typer.Option("--json", help="Write the measurements to this file.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes: shows that it works, measures nothing.")] = False,
) -> None:
    """Measure the library beside what one would use instead, in the same run."""
    from cnncourse.errors import CourseError
    from cnncourse.session import resolve_device

    unknown = [name for name in names or () if name not in BENCHMARKS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(BENCHMARKS)}.")
    try:
        device = resolve_device(device)
    except CourseError as error:
        raise typer.BadParameter(str(error)) from None
    import torch

    torch.set_num_threads(threads)
    about = describe(device, quick)
    typer.echo(f"{about['device_name']}, {about['cores']} cores, load {about['load']}, torch {about['torch']}, "
               f"{about['threads']} thread{'s' if threads > 1 else ''}")  # fmt: skip
    comparisons: list[dict[str, Any]] = []
    for name in names or BENCHMARKS:
        for comparison in import_module(f"benchmarks.{BENCHMARKS[name]}").run(device, quick):
            typer.echo(as_text(comparison))
            comparisons.append(comparison.to_dict())
        if output:  # after each: what is finished is not lost when the rest is stopped
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps({"about": about, "comparisons": comparisons}, indent=1) + "\n")


def describe(device: str, quick: bool) -> dict[str, Any]:
    """Where and when: what a reader of the numbers has to know."""
    import torch

    from cnncourse import provenance

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": device,
        "device_name": provenance.device_name(device),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "quick": quick,
    }


def as_text(comparison) -> str:
    """The comparison as a few lines: rates by the clock and per CPU-second, goals with what became of them."""
    lines = [f"\n{comparison.benchmark}: {comparison.case}"]
    for contender in comparison.contenders:
        by_clock, by_cpu = contender.rate("wall"), contender.rate("cpu")
        lines.append(
            f"  {contender.name:34s} {by_clock:12,.1f} {comparison.unit}/s {by_cpu:12,.1f} {comparison.unit}/CPU-second"
        )
    for goal in comparison.goals:
        low, high = goal.quartiles
        word = "met" if goal.met else "MISSED"
        lines.append(f"  {word}: {goal.text}; ratio {goal.ratio:.2f} (quartiles {low:.2f} to {high:.2f})")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)

"""The command line. Each command is a thin function: it parses, calls one function of the library, and prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cnncourse.errors import CourseError
from cnncourse.project import Project

app = typer.Typer(
    help="Execute, check and publish the course.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", help="Folder of the course (default: found from the working directory)."),
]


def project_of(folder: Path | None) -> Project:
    return Project.find(folder)


@app.callback()
def _course() -> None:  # without it, typer takes an app with a single command for that command
    pass


@app.command()
def data(
    fetch: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Download a data set (mnist) into the data root.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 when a data set that is there is damaged.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the data sets on this machine, verified: where they are, what they are, their hashes.

    The data root is the folder in CNNCOURSE_DATA, else a folder of your user cache.
    """
    import json

    from cnncourse.data import inventory

    for name in fetch or ():
        inventory.fetch(name)
    entries = inventory.survey()
    typer.echo(json.dumps(inventory.as_json(entries), indent=2) if as_json else inventory.as_text(entries))
    if check and any(entry.state == "damaged" for entry in entries):
        raise typer.Exit(1)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    project: ProjectOption = None,
) -> None:
    """Print versions, devices, data, memory and disk, and what is missing.

    Exits with 1 only when something is missing that the small profile needs.
    """
    import json

    from cnncourse.pipeline.doctor import as_text, examine

    report = examine(project)
    typer.echo(json.dumps(report, indent=2) if as_json else as_text(report))
    if not report["ok"]:
        raise typer.Exit(1)


@app.command()
def claims(
    report: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the claims of this report (ift6135).")
    ] = None,
    notebook: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the claims of this notebook (name or number).")
    ] = None,
    verdict: Annotated[
        str | None, typer.Option(metavar="WORD", help="reproduced, corrected, 'not reproduced' or open.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the ledger is complete; exit with 1 when it is not.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    project: ProjectOption = None,
) -> None:
    """List what the reports claim, what the best committed results say, and the verdicts."""
    from cnncourse.claims import command

    course = project_of(project)
    if check:
        typer.echo(command.check(course))
        return
    verdicts = command.select(course, report, notebook, verdict)
    typer.echo(command.as_json(verdicts)) if as_json else command.show(verdicts)


def main() -> None:
    """Entry point: user errors are printed without a traceback."""
    try:
        app()
    except CourseError as error:
        typer.secho(f"Error: {error.what}", fg=typer.colors.RED, err=True)
        if error.remedy:
            typer.echo(error.remedy, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

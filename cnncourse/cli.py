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

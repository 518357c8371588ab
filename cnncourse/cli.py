"""The command line. Each command is a thin function: it parses, calls one function of the library, and prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
import typer.core

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
        list[str] | None,
        typer.Option(metavar="NAME", help="Download a data set (mnist, cifar10, cats_dogs) into the data root."),
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


class _RunCommand(typer.core.TyperCommand):
    """typer knows no option that takes two values and may be repeated: -p NAME VALUE becomes -p NAME=VALUE."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        joined, rest = [], iter(args)
        for arg in rest:
            joined.append(arg)
            if arg in ("-p", "--parameter"):
                name = next(rest, None)
                value = None if name is None or "=" in name else next(rest, None)
                joined += [] if name is None else [name] if value is None else [f"{name}={value}"]
        return super().parse_args(ctx, joined)


@app.command(cls=_RunCommand)
def run(
    notebooks: Annotated[
        list[str] | None, typer.Argument(metavar="NOTEBOOK", help="Numbers or names (default: all).")
    ] = None,
    profile: Annotated[str, typer.Option(help="smoke, laptop or full.")] = "smoke",
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    seed: Annotated[int | None, typer.Option(help="First seed.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Any other parameter.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Notebooks at a time; each gets its share of the cores.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Longest time for one notebook.")] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most memory for one notebook: 4GB, or 50% of what is free.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Execute also what has not changed.")] = False,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use the workers of this Dask scheduler (tcp://...).")
    ] = None,
    imported: Annotated[
        Path | None,
        typer.Option("--import", metavar="FOLDER", help="Execute nothing: take back what a bundle has computed."),
    ] = None,
    project: ProjectOption = None,
) -> None:
    """Execute notebooks; those of which nothing has changed are taken from the cache.

    Writes _build/executed/PROFILE/NAME.ipynb and _build/results/PROFILE/NAME.json. A notebook that fails leaves
    NAME.failed.ipynb and NAME.failed.log there, and the others go on. Exits with 0 only if all succeeded.
    """
    from cnncourse.pipeline import progress, runner

    if imported is not None:
        from cnncourse.pipeline.bundle_import import take_back

        found = take_back(project_of(project), imported, typer.echo)
        typer.echo(
            f"Imported {len(found.results)} results, {len(found.executed)} executed notebooks, {found.trainings} "
            f"trainings{', the benchmarks' if found.benchmarks else ''} from {found.machine}. To commit results: "
            "cnncourse refresh --profile full"
        )
        return
    given = dict(pair.split("=", 1) if "=" in pair else (pair, None) for pair in parameter or ())
    if None in given.values():
        raise CourseError(f"-p {next(iter(given))} has no value.", "Write -p NAME VALUE.")
    options = runner.Options(profile, device, seed, given, jobs, timeout, force, scheduler, memory)
    report = runner.run(project_of(project), notebooks or (), options, progress.for_terminal())
    progress.summary(report.outcomes)
    raise typer.Exit(report.exit_code)


@app.command()
def book(
    profile: Annotated[str, typer.Option(help="smoke, laptop or full: the runs that become pages.")] = "smoke",
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Notebooks at a time; each gets its share of the cores.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Longest time for one notebook.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Execute also what has not changed.")] = False,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use the workers of this Dask scheduler (tcp://...).")
    ] = None,
    edition: Annotated[
        str,
        typer.Option(help="student (exercises without solutions), instructor (everything) or both."),
    ] = "both",
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Then serve one edition (the instructor's, unless --edition student) and rebuild a page when its "
            "text, or the executed copy of its notebook, changes. Until Ctrl-C.",
        ),
    ] = False,
    port: Annotated[int, typer.Option(help="Of --watch; 0 takes a free one.")] = 8000,
    project: ProjectOption = None,
) -> None:
    """Execute every notebook, as far as something changed, and build the site in _build/site, one folder per edition.

    The site is replaced only when every notebook succeeded, Jupyter Book found no fault, and no solution can be read in
    the student edition.
    """
    from cnncourse.pipeline import progress, runner, site
    from cnncourse.pipeline.stage import EDITIONS

    course = project_of(project)
    if edition not in (*EDITIONS, "both"):
        raise CourseError(f"There is no edition {edition!r}.", f"Choose {', '.join(EDITIONS)} or both.")
    options = runner.Options(profile, device, jobs=jobs, timeout=timeout, force=force, scheduler=scheduler)
    report = runner.run(course, (), options, progress.for_terminal())
    progress.summary(report.outcomes)
    if report.exit_code:
        names = ", ".join(outcome.name for outcome in report.outcomes if not outcome.ok)
        typer.secho(f"The site was not built, because of: {names}", fg=typer.colors.RED, err=True)
        raise typer.Exit(report.exit_code)
    if watch:
        from cnncourse.pipeline.watch import watch as follow

        raise typer.Exit(follow(course, profile, "instructor" if edition == "both" else edition, port, typer.echo))
    editions = EDITIONS if edition == "both" else (edition,)
    typer.echo(f"The site: {site.build(course, profile, editions, say=typer.echo)}")


@app.command()
def refresh(
    selectors: Annotated[
        list[str] | None, typer.Argument(metavar="NOTEBOOK", help="Numbers or names (default: all).")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="smoke executes and measures the bands; laptop and full take over what `run` measured.")
    ] = "smoke",
    seeds: Annotated[int, typer.Option(help="Runs behind each band, at least 5.")] = 10,
    jobs: Annotated[int | None, typer.Option(min=1, help="Notebooks at a time.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one execution.")] = None,
    project: ProjectOption = None,
) -> None:
    """Renew what is committed: the outputs of the source notebooks, the results, and the bands of the contract.

    Afterwards look at `git diff` and commit. A notebook that fails keeps its files.
    """
    from cnncourse.pipeline import progress
    from cnncourse.pipeline import refresh as work
    from cnncourse.pipeline.runner import Options

    course = project_of(project)
    if profile != "smoke":
        for refreshed in work.take_over(course, selectors or (), profile):
            typer.echo(refreshed)
        return
    options = Options(jobs=jobs, timeout=timeout)
    if code := work.refresh(course, selectors or (), seeds, options, progress.for_terminal, typer.echo):
        raise typer.Exit(code)


@app.command()
def student(
    notebooks: Annotated[
        list[str] | None, typer.Argument(metavar="NOTEBOOK", help="Numbers or names (default: all).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Default: _build/student.")
    ] = None,
    install: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="What pip installs where the library is missing: a name, an address, or a wheel to put beside the "
            "notebooks (default: the repository in _config.yml, else a wheel that is built).",
        ),
    ] = None,
    branch: Annotated[
        bool,
        typer.Option(
            "--branch",
            help="Write a tree to publish as the repository's branch 'student', which the site's launch buttons open: "
            "all notebooks, the wheel, requirements (default folder: _build/student_branch).",
        ),
    ] = False,
    project: ProjectOption = None,
) -> None:
    """Write the notebooks for students: no solutions, locked checks, no outputs, one set-up cell; and an archive."""
    from cnncourse.pipeline.student import student_branch, student_edition

    course = project_of(project)
    if branch:
        if notebooks:
            raise CourseError("A branch holds all notebooks.", "Leave out --branch, or the names.")
        written = student_branch(course, output or course.build / "student_branch", install)
    else:
        written = student_edition(course, output or course.build / "student", notebooks or (), install)
    typer.echo("\n".join(map(str, written)))


@app.command()
def bundle(
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the parts.")],
    data: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Data sets to pack: mnist, cifar10, cats_dogs.")
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("--for", metavar="JSON", help="What that machine has: output of start.py --report there."),
    ] = None,
    part_size: Annotated[str, typer.Option(metavar="SIZE", help="Largest part.")] = "60M",
    wheels: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Pack these wheels, download none.")] = None,
    project: ProjectOption = None,
) -> None:
    """Pack the course for a GPU machine without network: Linux x86-64, Python 3.12, its own torch and torchvision.

    Copy the folder there and run: python start.py --minutes 9. It goes on where it stopped when it is called again.
    Then bring its output folder here: cnncourse run --import FOLDER.
    """
    from cnncourse.pipeline import bundle as work

    made = work.bundle(
        project_of(project),
        output,
        data=data or (),
        target=target,
        part_size=part_size,
        wheels=wheels,
        say=typer.echo,
    )
    typer.echo(f"{len(made.parts)} parts, {made.size / 1e6:.0f} MB, {len(made.wheels)} wheels in {made.folder}")


store = typer.Typer(help="The trainings that the notebooks keep and find again: list, inspect, prune.")
app.add_typer(store, name="store")
FolderOption = Annotated[
    Path | None, typer.Option(help="The store's folder (default: CNNCOURSE_STORE, else a folder of your user cache).")
]


@store.command("list")
def store_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False, folder: FolderOption = None
) -> None:
    """List the kept trainings, the latest first."""
    from cnncourse.training import store_command

    typer.echo(store_command.listing(store_command.opened(folder), as_json))


@store.command("inspect")
def store_inspect(
    key: Annotated[str, typer.Argument(help="The record's key, or its first digits.")], folder: FolderOption = None
) -> None:
    """Print everything that is known of one training, as JSON."""
    from cnncourse.training import store_command

    typer.echo(store_command.inspection(store_command.opened(folder), key))


@store.command("prune")
def store_prune(
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Delete those written more than so many days ago, too.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all of them.")] = False,
    folder: FolderOption = None,
) -> None:
    """Delete trainings that no notebook can find any more: made by other code, or damaged."""
    from cnncourse.training import store_command

    gone = store_command.opened(folder).prune(older_than_days=older_than, everything=everything)
    typer.echo(f"Deleted {len(gone)} record{'' if len(gone) == 1 else 's'}, {sum(r.bytes for r in gone) / 1e6:.1f} MB.")


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

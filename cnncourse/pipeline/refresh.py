"""`cnncourse refresh`: what is committed of a notebook, measured anew.

In the smoke profile that is the notebook itself with its portable outputs, and its results with the bands of the
contract. The results of the larger profiles are taken over from a run.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev

import nbformat
from nbformat import NotebookNode

from cnncourse.errors import CourseError
from cnncourse.pipeline import cache, contract
from cnncourse.pipeline.notebooks import Notebook, find, select
from cnncourse.pipeline.outputs import committed_form
from cnncourse.pipeline.progress import Display
from cnncourse.pipeline.runner import Job, Options, Outcome, Outputs, perform
from cnncourse.project import PROFILES, Project
from cnncourse.results import Band, Curve, Metric, Results

MIN_SEEDS = 5  # of a band, as its schema demands
Refreshable = Metric | Curve


@dataclass
class Refreshed:
    """What `refresh` did with one notebook."""

    notebook: str
    error: str = ""  # why nothing was changed
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.error:
            return f"{self.notebook}: not refreshed, its files are as they were. {self.error}"
        lines = [f"{self.notebook}: {'changed' if self.changes else 'unchanged'}"]
        return "\n".join(lines + [f"  {line}" for line in self.changes + self.notes])


def refresh(
    project: Project,
    selectors: Sequence[str] = (),
    seeds: int = 10,
    options: Options | None = None,
    display: Callable[[], Display] = Display,
    done: Callable[[Refreshed], None] = lambda refreshed: None,
) -> int:
    """Execute source notebooks at their defaults and commit their outputs, results and bands to the working tree.

    A notebook that fails at any seed keeps its source and its results as they are.

    Parameters
    ----------
    project : Project
        The checkout whose files change.
    selectors : sequence of str
        Numbers or names of notebooks (default: all).
    seeds : int
        Runs behind each band, at least 5; the first one is the run at the defaults.
    options : Options, optional
        `jobs`, `timeout`, `memory` and `scheduler` count.
    display : callable
        Makes what shows the progress, for the runs at the defaults and for those at other seeds.
    done : callable
        Called with what became of each notebook.

    Returns
    -------
    int
        Exit code: 0 when every notebook was refreshed.

    Raises
    ------
    CourseError
        When it cannot start: a bad selector, too few seeds, another refresh in the same checkout.
    """
    if seeds < MIN_SEEDS:
        raise CourseError(f"A band needs at least {MIN_SEEDS} runs, not {seeds}.", f"Pass --seeds {MIN_SEEDS} or more.")
    options = replace(options or Options(), profile="smoke", force=True)
    notebooks = select(find(project), selectors)
    # Apart from `cnncourse run`: its cache and outputs stay as they are, and nothing kept there is taken for new.
    scratch = replace(project, output=project.build / "refresh")
    outputs = Outputs(scratch, "smoke")
    sources = {notebook.stem: notebook.path.read_bytes() for notebook in notebooks}
    failed = False

    def perform_all(jobs: Sequence[Job]) -> dict[str, Outcome]:
        report = perform(scratch, jobs, options, display(), outputs.publish)
        if report.signal:
            raise SystemExit(report.exit_code)
        return {outcome.name: outcome for outcome in report.outcomes}

    def conclude(refreshed: Refreshed) -> None:
        nonlocal failed
        failed |= bool(refreshed.error)
        done(refreshed)

    plans = []
    for notebook in notebooks:
        try:
            notebook.check_syntax()
            plans.append(Job(notebook, notebook.bind({})))
        except CourseError as error:
            conclude(Refreshed(notebook.stem, str(error)))
    first = perform_all(plans)
    drafts: dict[str, _Draft] = {}
    more: list[Job] = []
    for job in plans:
        try:
            results = _results(first[job.name], outputs)
            drafts[job.name] = _draft(project, job.notebook, sources[job.name], first[job.name], results)
            more += _further_jobs(job, results, seeds)
        except CourseError as error:
            conclude(Refreshed(job.name, str(error)))
            drafts.pop(job.name, None)
    others = perform_all(more) if more else {}
    for stem, draft in drafts.items():
        try:
            runs = [_results(others[job.name], outputs) for job in more if job.notebook is draft.notebook]
            conclude(_commit(project, draft, with_bands([draft.results, *runs])))
        except (CourseError, OSError) as error:
            conclude(Refreshed(stem, str(error)))
    if not failed:
        shutil.rmtree(scratch.build, ignore_errors=True)
    return int(failed)


@dataclass
class _Draft:
    """What the run at the defaults gave, not yet written."""

    notebook: Notebook
    source: bytes  # of the file, before
    text: str  # of the file, as it will be
    changes: list[str]
    notes: list[str]
    results: Results


def _further_jobs(job: Job, results: Results, seeds: int) -> list[Job]:
    """Runs at other seeds, so far apart that no two share one."""
    used, seed = results.provenance.seeds, job.parameters.get("seed")
    if seed is None:
        raise CourseError("It has no parameter `seed`.", "Declare `seed: int = 0` and pass it to cnncourse.start.")
    distance = max(used) - seed + 1
    further = [seed + k * distance for k in range(1, seeds)]
    return [Job(job.notebook, job.parameters | {"seed": seed}, f"{job.name}-seed{seed}") for seed in further]


def _results(outcome: Outcome, outputs: Outputs) -> Results:
    """The results of one execution. Raises CourseError when it failed or recorded nothing."""
    if not outcome.ok:
        where = f" in cell {outcome.cell}" if outcome.cell else ""
        log = f"See {outcome.log}." if outcome.log else ""
        raise CourseError(f"{outcome.name}: {outcome.status}{where}: {outcome.reason}", log)
    if outcome.results is None:
        raise CourseError(
            f"{outcome.name} has no results.", "Start a session with cnncourse.start and end with run.finish()."
        )
    return Results.load(outputs.results / f"{outcome.name}.json")


def _draft(project: Project, notebook: Notebook, source: bytes, outcome: Outcome, results: Results) -> _Draft:
    """The committed form of an execution. Raises CourseError when an output shows a path of this machine."""
    executed = nbformat.reads(outcome.notebook, as_version=4)
    node = committed_form(notebook.node, executed)
    ran = [cell for cell in executed.cells if cache.INJECTED not in cell.metadata.get("tags", [])]
    changed, notes = [], []
    for number, (old, new, raw) in enumerate(zip(notebook.node.cells, node.cells, ran, strict=True), 1):
        outputs = new.get("outputs", [])
        if path := _machine_path(outputs, project):
            raise CourseError(
                f"{notebook.stem}: cell {number} shows a path of this machine: {path}", "Show a name in its place."
            )
        if old.get("outputs", []) != outputs:
            changed.append(str(number))
        for output in raw.get("outputs", []):
            if output.get("name") == "stderr" and output.text.strip():
                line = output.text.strip().splitlines()[0][:100]
                notes.append(f"note: cell {number} writes to stderr, which is not kept: {line}")
    text = nbformat.writes(node, version=4).rstrip("\n") + "\n"
    changes = []
    if text.encode() != source:
        changes.append(f"outputs of cells {', '.join(changed)}" if changed else "form and metadata of the notebook")
    return _Draft(notebook, source, text, changes, notes, results)


def _commit(project: Project, draft: _Draft, results: Results) -> Refreshed:
    """Write notebook and results into the working tree, where they changed."""
    path = draft.notebook.path
    if path.read_bytes() != draft.source:
        raise CourseError(f"{path} was edited meanwhile.", "Refresh it again.")
    refreshed = Refreshed(draft.notebook.stem, changes=draft.changes, notes=draft.notes)
    refreshed.changes += update(project.results / "smoke" / f"{draft.notebook.stem}.json", results)
    if draft.text.encode() != draft.source:
        cache.write(path, draft.text)
    items = [*results.metrics.items(), *results.curves.items()]
    same = [name for name, item in items if item.band and not any(_listed(item.band.sd))]
    if same:
        refreshed.notes.append(
            f"note: trained, but the same in every run: {', '.join(same)}. Their bands allow for round-off only; what"
            " is round-off itself should depend on the seed."
        )
    return refreshed


def with_bands(runs: Sequence[Results]) -> Results:
    """The results of the first run, with bands over all of them.

    Parameters
    ----------
    runs : sequence of Results
        Of one notebook, at seeds of their own.

    Raises
    ------
    CourseError
        When runs differ in what must not depend on the seed: the names recorded, exact metrics, shapes.
    """
    first = runs[0]
    for kind in ("metrics", "curves"):
        for run in runs[1:]:
            for name in getattr(first, kind).keys() ^ getattr(run, kind).keys():
                raise CourseError(
                    f"{first.notebook}: {name} is not recorded at every seed ({run.provenance.seed} differs).",
                    "Record the same names in every run.",
                )

    def banded(kind: str) -> dict[str, Refreshable]:
        items = {}
        for name, item in getattr(first, kind).items():
            try:
                items[name] = item.model_copy(update={"band": _band([getattr(run, kind)[name] for run in runs])})
            except ValueError as error:
                raise CourseError(
                    f"{first.notebook}: {name} {error}",
                    "An exact value may depend on the seed only when recorded per seed; values that come from training"
                    " or round-off are numbers of kind 'trained', as many in every run.",
                ) from None
        return items

    results = first.model_copy(update={"metrics": banded("metrics"), "curves": banded("curves")})
    if broken := contract.compare(results, results):
        raise CourseError(f"{first.notebook}: its own bands refuse the run at the defaults:\n{contract.report(broken)}")
    return results


def _band(items: Sequence[Refreshable]) -> Band | None:
    """The band of one metric or curve over several runs; None for an exact one. Raises ValueError."""
    first = items[0]
    if isinstance(first, Metric) and first.kind == "exact":
        if first.per_seed is None and any(not contract.equal(item.value, first.value) for item in items):
            raise ValueError("is exact, but depends on the seed")
        return None
    statistics = [_listed(contract.statistic(item)) for item in items]
    if len({len(values) for values in statistics}) > 1:
        raise ValueError("has another length at another seed")
    means = [fmean(column) for column in zip(*statistics, strict=True)]
    sds = [stdev(column) for column in zip(*statistics, strict=True)]
    cases = first.per_seed or {}
    if len(cases) > 1 and all(item.per_seed.keys() == cases.keys() for item in items):
        columns = zip(*map(_listed, cases.values()), strict=True)
        sds = [max(sd, stdev(column) / len(column) ** 0.5) for sd, column in zip(sds, columns, strict=True)]
    scalar = not isinstance(contract.statistic(first), list)
    return Band(mean=means[0] if scalar else means, sd=sds[0] if scalar else sds, seeds=len(items))


def _listed(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def take_over(project: Project, selectors: Sequence[str], profile: str) -> list[Refreshed]:
    """Commit to the working tree what `cnncourse run --profile PROFILE` measured last.

    Parameters
    ----------
    project : Project
        The checkout whose files change.
    selectors : sequence of str
        Numbers or names of notebooks (default: all that were run).
    profile : {'laptop', 'full'}
        Profile of the run.

    Returns
    -------
    list of Refreshed

    Raises
    ------
    CourseError
        When a selected notebook was not run in this profile, or its results are of another notebook or profile, or
        do not fit the schema. Nothing is written then.
    """
    if profile not in PROFILES:
        raise CourseError(f"Unknown profile {profile!r}.", f"Choose one of {', '.join(PROFILES)}.")
    folder = project.fresh_results(profile)
    notebooks = select(find(project), selectors)
    if not selectors:
        notebooks = [notebook for notebook in notebooks if (folder / f"{notebook.stem}.json").is_file()]
        if not notebooks:
            raise CourseError(f"{folder} holds no results.", f"Run the notebooks: cnncourse run --profile {profile}.")
    fresh = {}
    for notebook in notebooks:
        path = folder / f"{notebook.stem}.json"
        if not path.is_file():
            raise CourseError(
                f"{notebook.stem} was not run in the {profile} profile.",
                f"First run it: cnncourse run --profile {profile} {notebook.stem[:2]}",
            )
        fresh[notebook.stem] = results = Results.load(path)
        if (results.notebook, results.profile) != (notebook.stem, profile):
            raise CourseError(
                f"{path} holds the results of {results.notebook} in the {results.profile} profile.",
                f"Run it again: cnncourse run --force --profile {profile} {notebook.stem[:2]}",
            )
    refreshed = []
    for stem, results in fresh.items():
        entry = Refreshed(stem, changes=update(project.results / profile / f"{stem}.json", results))
        if (results.provenance.commit or "+").endswith("+"):
            entry.notes.append("note: it ran with code that is not committed; its provenance cannot name a commit")
        refreshed.append(entry)
    return refreshed


def update(path: Path, new: Results) -> list[str]:
    """Write committed results unless they say what the file says already; returns what changed, a line each.

    When only commit, date and wall time differ, the file keeps those of the earlier run.
    """
    old = None
    if path.is_file():
        try:
            old = Results.load(path)
        except CourseError as error:
            old, changes = None, [f"replaces a file that cannot be read: {error.what}"]
        else:
            changes = differences(old, new)
    else:
        changes = [f"new results: {len(new.metrics)} metrics, {len(new.curves)} curves"]
    if old is None or changes:
        new.save(path)
    return changes


def differences(old: Results, new: Results) -> list[str]:
    """What a reader of the committed results would see change, one line each."""
    with tempfile.TemporaryDirectory() as folder:
        new.save(Path(folder) / "new.json")
        new = Results.load(Path(folder) / "new.json")  # rounded as the old ones are
    lines = []
    for kind in ("metrics", "curves"):
        before, after = getattr(old, kind), getattr(new, kind)
        for name in sorted(before.keys() | after.keys()):
            if name not in after:
                lines.append(f"{name}: removed, was {contract.show(before[name])}")
            elif name not in before:
                lines.append(f"{name}: new, {contract.show(after[name])}")
            elif before[name] != after[name]:
                lines.append(f"{name}: {_change(before[name], after[name])}")
    for fact in sorted(set(type(new.provenance).model_fields) - {"commit", "finished", "wall_time_s"}):
        before, after = getattr(old.provenance, fact), getattr(new.provenance, fact)
        if before != after:
            lines.append(f"provenance: {fact}: {before} -> {after}")
    return lines


def _change(before: Refreshable, after: Refreshable) -> str:
    shown = contract.show(before), contract.show(after)
    if shown[0] != shown[1]:
        return " -> ".join(shown)
    names = type(after).model_fields
    return f"other {', '.join(name for name in names if getattr(before, name, None) != getattr(after, name))}"


def _machine_path(outputs: Sequence[NotebookNode], project: Project) -> str | None:
    """A path of this machine that outputs show: they are published, and differ elsewhere."""
    here = {project.root, Path.home(), Path(sys.prefix), Path(tempfile.gettempdir()), Path(__file__).parents[2]}
    paths = "|".join(sorted((re.escape(str(path)) for path in here if len(path.parts) > 1), key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])(?:{paths})(?:/[\w.-]+)*(?![\w-])")
    for output in outputs:
        for text in [output.get("text", ""), output.get("evalue", ""), *output.get("data", {}).values()]:
            if found := pattern.search(text if isinstance(text, str) else str(text)):
                return found.group()
    return None

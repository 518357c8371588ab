"""Run the course on a machine without network: python start.py [NOTEBOOK ...] [--minutes 9] [--out FOLDER]

Lies beside the parts of a bundle and needs Python 3.12 and torch, nothing else. The first call verifies and unpacks the
parts and installs the wheels into a folder of its own; nothing of the machine is changed. Then it executes notebooks
(or runs the benchmarks) and stops in time. A second call goes on where the first stopped: finished notebooks are in the
cache, finished trainings of an unfinished notebook in the experiment store, and both lie in the output folder, so that
they survive when the machine does not. `cnncourse run --import FOLDER` takes the output folder back.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from importlib import metadata
from pathlib import Path

FORMAT = 1
HERE = Path(__file__).resolve().parent
FILE_LIMIT = 15_000_000  # bytes: larger files are split in the output folder
RESERVE = 25  # seconds before the end in which running notebooks are stopped and outputs written


class Failure(Exception):
    """What a person should read."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="numbers or names (default: all)")
    parser.add_argument("--profile", default="full", choices=("smoke", "laptop", "full"))
    parser.add_argument("--benchmarks", action="store_true", help="run the benchmarks instead")
    parser.add_argument("--minutes", type=float, default=9.0, help="stop in time (default: 9)")
    parser.add_argument("--out", type=Path, default=HERE / "out", help="output folder (default: out)")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="scratch folder (default: work)")
    parser.add_argument("--report", action="store_true", help="print what this machine has, as JSON, and stop")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    options = parser.parse_args()
    if options.report:
        print(json.dumps(report(), indent=1))
        return 0
    deadline = time.monotonic() + 60 * options.minutes
    # Under nohup, or behind an &, interrupts are ignored, and so they would be in the notebooks that are to be stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        manifest = json.loads((HERE / "manifest.json").read_text())
        check_python(manifest)
        unpack(manifest, options.work)
        environment = prepare(options)
        return run(options, manifest, environment, deadline)
    except Failure as failure:
        print(f"Error: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Error: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        return 1


def report() -> dict:
    """What this machine has, in the words of `cnncourse doctor --json`."""
    found = {}
    for distribution in metadata.distributions():
        if name := distribution.metadata["Name"]:
            found.setdefault(normalised(name), distribution.version)
    return {
        "system": {"platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "distributions": dict(sorted(found.items())),
    }


def normalised(name: str) -> str:
    """The name of a distribution as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """'Dask[complete]>=2026' -> 'dask'."""
    return normalised(re.match(r"[A-Za-z0-9._-]+", requirement.strip())[0])


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def check_python(manifest: dict) -> None:
    """Compiled wheels fit one version of Python."""
    if not platform.python_version().startswith(manifest["python"] + "."):
        raise Failure(
            f"this is Python {platform.python_version()}, the bundle is for {manifest['python']}. "
            f"Start it with another: python{manifest['python']} start.py"
        )


def unpack(manifest: dict, work: Path) -> None:
    """Verify and join the parts into `work`; once."""
    mark = work / "unpacked"
    identity = json.dumps(manifest["parts"])
    if mark.is_file() and mark.read_text() == identity:
        return
    for part in manifest["parts"]:
        path = HERE / part["name"]
        if not path.is_file():
            raise Failure(f"{part['name']} is missing. Copy it into {HERE}.")
        if path.stat().st_size != part["bytes"] or sha256(path) != part["sha256"]:
            raise Failure(f"{part['name']} is damaged. Copy it again ({part['bytes']:,} bytes).")
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    with tarfile.open(fileobj=Joined([HERE / part["name"] for part in manifest["parts"]]), mode="r|") as tar:
        tar.extractall(work, filter="data")
    mark.write_text(identity)


class Joined:
    """Files one after the other, to be read as one."""

    def __init__(self, paths: list[Path]):
        self.paths = list(paths)
        self.file = None

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if self.file is None:
                if not self.paths:
                    break
                self.file = self.paths.pop(0).open("rb")
            chunk = self.file.read(size - len(data))
            if chunk:
                data += chunk
            else:
                self.file.close()
                self.file = None
        return data


def prepare(options: argparse.Namespace) -> dict[str, str]:
    """Install the wheels into a folder, once, and return the environment for the course."""
    site, wheels = options.work / "site", sorted((options.work / "wheels").glob("*.whl"))
    mark = options.work / "installed"
    if not mark.is_file():
        shutil.rmtree(site, ignore_errors=True)
        pip = next((wheel for wheel in wheels if wheel.name.startswith("pip-")), None)
        command = [sys.executable, f"{pip}/pip"] if pip else [sys.executable, "-m", "pip"]
        command += ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-compile"]
        if wheels:
            done = subprocess.run([*command, "--target", str(site), *map(str, wheels)], capture_output=True, text=True)
            if done.returncode:
                raise Failure(f"the wheels cannot be installed:\n{done.stderr.strip()}")
            subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "0", str(site)], capture_output=True)
        mark.write_text("")
    course = options.work / "course"
    options.out.mkdir(parents=True, exist_ok=True)
    variables = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(course), str(site), os.environ.get("PYTHONPATH", "")])),
        "CNNCOURSE_DATA": str(options.work / "data"),
        "CNNCOURSE_STORE": str(options.work / "store"),
        "IPYTHONDIR": str(options.work / "ipython"),
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    manifest = json.loads((HERE / "manifest.json").read_text())
    if manifest["commit"]:
        variables["CNNCOURSE_COMMIT"] = manifest["commit"]
    return os.environ | variables


def run(options: argparse.Namespace, manifest: dict, environment: dict[str, str], deadline: float) -> int:
    """Execute, stop in time, write the output folder."""
    course, log = options.work / "course", options.work / "log.txt"
    restore(options)
    if options.benchmarks:
        target = course / "_build" / "benchmarks.json"
        command = [sys.executable, "-m", "benchmarks", "--json", str(target)]
    else:
        command = [sys.executable, "-m", "cnncourse", "run", *options.notebooks, "--profile", options.profile]
        command += [text for name, value in options.parameters for text in ("-p", name, value)]
    with log.open("ab") as file:
        process = subprocess.Popen(command, cwd=course, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        os.set_blocking(process.stdout.fileno(), False)
        stopped = False
        while process.poll() is None:
            show(process.stdout, file)
            left = deadline - RESERVE - time.monotonic()
            if left <= 0 and not stopped:
                print(f"The {options.minutes:g} minutes are over: stopping. Call again to go on.", flush=True)
                os.killpg(process.pid, signal.SIGINT)
                stopped = True
            if left < -RESERVE / 2:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.2)
        show(process.stdout, file)
    files = collect(options, manifest)
    code = 3 if stopped else process.returncode
    print(f"{files} files in {options.out}. " + ("Not finished: call again to go on." if code else "Finished."))
    return code


def show(stream, file) -> None:
    """Pass on what the process has said."""
    while text := stream.read():
        file.write(text)
        file.flush()
        sys.stdout.write(text.decode(errors="replace"))
        sys.stdout.flush()


# What goes out, and comes back on the next call: folder of the work -> folder of the output.
CARRIED = {"course/_build/results": "results", "course/_build/executed": "executed", "course/_build/cache": "cache",
           "store": "store"}  # fmt: skip


def restore(options: argparse.Namespace) -> None:
    """Bring back what an earlier call left in the output folder, also on a new machine."""
    for name, kept in CARRIED.items():
        target = options.work / name
        for path in sorted((options.out / kept).rglob("*")):
            if path.is_file() and not re.search(r"\.\d\d\d$", path.name):
                place(path.read_bytes, target / path.relative_to(options.out / kept))
        for first in sorted((options.out / kept).rglob("*.000")):
            pieces = sorted(first.parent.glob(f"{first.stem}.[0-9][0-9][0-9]"))
            whole = target / first.relative_to(options.out / kept).with_suffix("")
            place(lambda pieces=pieces: b"".join(piece.read_bytes() for piece in pieces), whole)


def place(read, path: Path) -> None:
    """Write a file that is not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(read())


def collect(options: argparse.Namespace, manifest: dict) -> int:
    """Write results, executed notebooks, logs, cache and store into the output folder, in files of limited size."""
    options.out.mkdir(parents=True, exist_ok=True)
    skip = {"locks"}
    for name, kept in CARRIED.items():
        root = options.work / name
        for old in (options.out / "executed").rglob("*.failed.*") if kept == "executed" else ():
            if not (root / old.relative_to(options.out / kept)).exists():
                old.unlink()  # it has succeeded since
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.is_file() and not skip & set(path.relative_to(root).parts) and not path.name.startswith("."):
                put(path, options.out / kept / path.relative_to(root))
    for path in (options.work / "log.txt", options.work / "course" / "_build" / "benchmarks.json"):
        if path.is_file():
            put(path, options.out / path.name)
    files = sorted(path for path in options.out.rglob("*") if path.is_file() and path != options.out / "manifest.json")
    content = {
        "format": FORMAT,
        "commit": manifest["commit"],
        "machine": report(),
        "files": {path.relative_to(options.out).as_posix(): sha256(path) for path in files},
    }
    draft = options.out / ".manifest.json"
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(options.out / "manifest.json")
    return len(files)


def put(path: Path, target: Path) -> None:
    """Copy a file, in pieces where it is too large."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f"{target.name}.[0-9][0-9][0-9]"):
        old.unlink()
    if path.stat().st_size <= FILE_LIMIT:
        draft = target.with_name(f".{target.name}.draft")
        shutil.copyfile(path, draft)
        draft.replace(target)
        return
    target.unlink(missing_ok=True)
    with path.open("rb") as file:
        for number in range(1000):
            piece = file.read(FILE_LIMIT)
            if not piece:
                break
            (target.parent / f"{target.name}.{number:03d}").write_bytes(piece)


if __name__ == "__main__":
    sys.exit(main())

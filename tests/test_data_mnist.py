"""MNIST's files: found, verified, downloaded, or refused with a reason. All on small files made up here."""

import errno
import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from cnncourse.data import inventory, mnist, mnist_data, mnist_files
from cnncourse.data.idx import IdxFile
from cnncourse.data.root import data_root
from cnncourse.errors import CourseError

TRAIN, VALIDATION, TEST = 50, 10, 20
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        TRAIN_IMAGES: rng.integers(0, 256, (TRAIN + VALIDATION, 28, 28), dtype=np.uint8),
        TRAIN_LABELS: rng.integers(0, 10, TRAIN + VALIDATION, dtype=np.uint8),
        TEST_IMAGES: rng.integers(0, 256, (TEST, 28, 28), dtype=np.uint8),
        TEST_LABELS: rng.integers(0, 10, TEST, dtype=np.uint8),
    }


@pytest.fixture
def root(arrays, tmp_path, monkeypatch) -> Path:
    """A data root with intact files, and the library expecting these instead of the real ones."""
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = []
    for name, array in arrays.items():
        (raw / name).write_bytes(idx_bytes(array))
        files.append(IdxFile(name, array.shape, hashlib.sha256(idx_bytes(array)).hexdigest()))
    monkeypatch.setattr(mnist_files, "FILES", tuple(files))
    for variable, file in zip(("TRAIN_IMAGES", "TRAIN_LABELS", "TEST_IMAGES", "TEST_LABELS"), files, strict=True):
        monkeypatch.setattr(mnist_files, variable, file)
    monkeypatch.setattr(mnist_data, "VALIDATION", VALIDATION)
    return raw.parent.parent


@pytest.fixture
def raw(root) -> Path:
    return root / "MNIST" / "raw"


def refusal(root: Path, **options) -> CourseError:
    with pytest.raises(CourseError) as caught:
        mnist("laptop", root, **{"download": False, **options})
    return caught.value


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- intact files


@pytest.mark.parametrize("profile", ["laptop", "full"])
def test_split_is_the_first_and_the_last_of_the_training_file(root, arrays, profile):
    data = mnist(profile, root, download=False)
    images, labels = arrays[TRAIN_IMAGES][:, None], arrays[TRAIN_LABELS]
    for split, x, y in (
        (data.train, images[:TRAIN], labels[:TRAIN]),
        (data.validation, images[TRAIN:], labels[TRAIN:]),
        (data.test, arrays[TEST_IMAGES][:, None], arrays[TEST_LABELS]),
    ):
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert np.array_equal(split.images, x)
        assert np.array_equal(split.labels, y)
    assert data.classes == tuple("0123456789")
    assert data.source.name == "MNIST"
    assert data.source.kind == "original"
    assert data.source.sizes == {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def test_mean_and_std_are_those_of_the_training_part(root, arrays):
    data = mnist("laptop", root)
    pixels = arrays[TRAIN_IMAGES][:TRAIN] / 255
    assert data.mean == pytest.approx((pixels.mean(),), abs=1e-12)
    assert data.std == pytest.approx((pixels.std(),), abs=1e-12)


def test_source_is_the_content_and_not_the_place(root, raw, tmp_path):
    here = mnist("laptop", root)
    other = tmp_path / "other" / "MNIST" / "raw"
    other.mkdir(parents=True)
    for name in NAMES:  # torchvision leaves the .gz files; they alone are enough
        (other / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes()))
    there = mnist("laptop", tmp_path / "other", download=False)
    assert there.source == here.source
    assert there.source.location != here.source.location
    assert torch.equal(there.train.images, here.train.images)
    assert str(tmp_path) not in repr(there.source)


def test_real_mnist_is_what_is_expected_by_default():
    # Seen once on the real files; a slip in the table of checksums would refuse them.
    by_name = {file.name: file for file in mnist_files.FILES}
    assert set(by_name) == set(NAMES)
    assert by_name[TRAIN_IMAGES].size == 47_040_016
    assert by_name[TEST_LABELS].size == 10_008
    assert mnist_files.fingerprint() == "d0a3eec1f5a454401d758fdbf15b9b0163a7034963586d671960c180b97e2c1a"
    assert mnist_data.source(Path("anywhere")).sizes == {"train": 50_000, "validation": 10_000, "test": 10_000}


def test_reading_changes_nothing(root):
    before = content(root)
    mnist("laptop", root)
    inventory.survey(root)
    assert content(root) == before


def test_full_profile_imports_neither_scikit_learn_nor_scipy(root):
    script = f"""
import sys
import cnncourse.data
assert not {{"numpy", "torch"}} & set(sys.modules), "importing the package has to be cheap"
from cnncourse.data import mnist_data, mnist_files
from cnncourse.data.idx import IdxFile
mnist_files.FILES = {mnist_files.FILES!r}
mnist_files.TRAIN_IMAGES, mnist_files.TRAIN_LABELS, mnist_files.TEST_IMAGES, mnist_files.TEST_LABELS = mnist_files.FILES
mnist_data.VALIDATION = {VALIDATION}
assert len(cnncourse.data.mnist("full", {str(root)!r}).train) == {TRAIN}
cnncourse.data.mnist("smoke")
print(sorted({{"sklearn", "scipy", "torchvision", "pandas"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# --- damaged files


def truncate(raw):
    path = raw / TRAIN_IMAGES
    path.write_bytes(path.read_bytes()[:1000])


def alter(raw):
    path = raw / TRAIN_IMAGES
    data = bytearray(path.read_bytes())
    data[20_000] ^= 1
    path.write_bytes(data)


def extend(raw):
    path = raw / TEST_LABELS
    path.write_bytes(path.read_bytes() + b"abc")


def cut_test_images_in_place_of_training_images(raw):
    (raw / TRAIN_IMAGES).write_bytes((raw / TEST_IMAGES).read_bytes()[:5000])


def compress_without_renaming(raw):
    path = raw / TEST_LABELS
    path.write_bytes(gzip.compress(path.read_bytes()))


def cut_compressed(raw):
    path = raw / TEST_IMAGES
    (raw / f"{TEST_IMAGES}.gz").write_bytes(gzip.compress(path.read_bytes())[:2000])
    path.unlink()


def page_under_compressed_name(raw):
    (raw / TEST_IMAGES).unlink()
    (raw / f"{TEST_IMAGES}.gz").write_bytes(b"<html>Please log in</html>")


@pytest.mark.parametrize(
    ("damage", "name", "problem"),
    [
        (truncate, TRAIN_IMAGES, "is truncated: 1,000 of 47,056 bytes"),
        (lambda raw: (raw / TRAIN_IMAGES).write_bytes(b"\0\0\x08"), TRAIN_IMAGES, "is truncated: 3 of 47,056 bytes"),
        (alter, TRAIN_IMAGES, "was altered or is another data set's: right size, right header"),
        (extend, TEST_LABELS, "is 3 bytes too long"),
        (lambda raw: (raw / TEST_LABELS).write_bytes(b""), TEST_LABELS, "is empty"),
        (lambda raw: (raw / TRAIN_LABELS).write_bytes(b"\n<!DOCTYPE html>"), TRAIN_LABELS, "is a web page"),
        (lambda raw: (raw / TRAIN_LABELS).write_bytes(b"hello, hello"), TRAIN_LABELS, "is another kind of file"),
        (
            cut_test_images_in_place_of_training_images,
            TRAIN_IMAGES,
            "is, by its header, a file of 20 images of 28x28",
        ),
        (compress_without_renaming, TEST_LABELS, "is still compressed"),
        (cut_compressed, f"{TEST_IMAGES}.gz", "is truncated or altered"),
        (page_under_compressed_name, f"{TEST_IMAGES}.gz", "is a web page"),
    ],
)
def test_a_damaged_file_is_refused_by_name_with_what_was_expected(root, raw, damage, name, problem):
    damage(raw)
    error = refusal(root)
    file = next(file for file in mnist_files.FILES if name.startswith(file.name))
    assert f"{raw / name} {problem}" in error.what
    assert f"{file.size:,} bytes" in error.what
    assert file.sha256 in error.what
    assert name in error.remedy
    assert "cnncourse data --fetch mnist" in error.remedy


@pytest.mark.parametrize(("one", "other"), [(TRAIN_IMAGES, TEST_IMAGES), (TRAIN_IMAGES, TRAIN_LABELS)])
def test_swapped_files_are_both_recognised(root, raw, one, other):
    first, second = (raw / one).read_bytes(), (raw / other).read_bytes()
    (raw / one).write_bytes(second)
    (raw / other).write_bytes(first)
    error = refusal(root)
    assert f"{raw / one} holds the data of {other}" in error.what
    assert f"{raw / other} holds the data of {one}" in error.what
    assert f"Give {one} its right name, {other}" in error.remedy


def test_a_folder_or_a_dangling_link_in_place_of_a_file_is_named(root, raw):
    (raw / TEST_LABELS).unlink()
    (raw / TEST_LABELS).mkdir()
    (raw / TRAIN_LABELS).unlink()
    (raw / TRAIN_LABELS).symlink_to("nowhere")
    error = refusal(root)
    assert f"{raw / TEST_LABELS} is a folder" in error.what
    assert f"{raw / TRAIN_LABELS} is a link to a file that is not there" in error.what


def test_an_unreadable_file_or_folder_is_named(root, raw, monkeypatch):
    def denied(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:  # chmod would not keep an administrator from reading
        patch.setattr(np, "fromfile", denied)
        error = refusal(root)
    assert f"{raw / TRAIN_IMAGES} cannot be read: Permission denied" in error.what
    assert "permission" in error.remedy
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", denied)
        assert f"{raw} cannot be read: Permission denied" in refusal(root).what


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "MNIST").write_text("")
    error = refusal(tmp_path)
    assert str(tmp_path / "MNIST" / "raw") in error.what
    assert "is a file" in error.what


def test_damage_is_an_error_even_where_the_digits_may_stand_in(root, raw):
    truncate(raw)
    assert "is truncated" in refusal(root, embedded=True).what


# --- missing files


def test_missing_files_are_listed_with_every_remedy(root, raw):
    (raw / TEST_LABELS).unlink()
    error = refusal(root)
    assert "is incomplete" in error.what
    assert f"{raw} lacks {TEST_LABELS}." in error.what
    for remedy in ("cnncourse data --fetch mnist", str(raw), "CNNCOURSE_DATA", "embedded=True"):
        assert remedy in error.remedy


def test_nothing_is_created_where_downloading_is_not_allowed(tmp_path):
    error = refusal(tmp_path / "nothing")
    assert "was not found" in error.what
    assert "download=False" in error.what
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("below", ["MNIST", "MNIST/raw"])
def test_a_root_that_points_too_deep_is_recognised_and_nothing_is_downloaded(root, below):
    error = refusal(root / below, download=True)
    assert f"set CNNCOURSE_DATA to {root}." in error.remedy
    assert not list(root.rglob(".download-*"))


def test_unknown_profile_is_refused():
    with pytest.raises(CourseError, match="Unknown profile 'labtop'"):
        mnist("labtop")


# --- downloading, by torchvision's own code from a server on this machine


class Server(BaseHTTPRequestHandler):
    def __init__(self, files, cut, *args):
        self.files, self.cut = files, cut
        super().__init__(*args)

    def do_GET(self):
        body = self.files[self.path.strip("/")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.cut else body)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(root, raw, monkeypatch):
    """Start a server with the intact files; torchvision will download from it."""
    from torchvision.datasets import MNIST

    files = {f"{name}.gz": gzip.compress((raw / name).read_bytes()) for name in NAMES}
    monkeypatch.setattr(MNIST, "resources", [(name, hashlib.md5(data).hexdigest()) for name, data in files.items()])
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(cut=False):
        server = HTTPServer(("127.0.0.1", 0), partial(Server, files, cut))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def no_network(monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nothing listens on the discard port


def test_download_lays_out_verified_files_and_nothing_else(serve, root, tmp_path):
    serve()
    data = mnist("laptop", tmp_path / "new")
    assert content(tmp_path / "new") == content(root)
    assert data.source == mnist("laptop", root).source


def test_fetch_replaces_what_is_damaged_or_missing_and_keeps_the_rest(serve, root, raw):
    serve()
    intact = content(root)
    truncate(raw)
    (raw / TEST_LABELS).unlink()
    kept = (raw / TEST_IMAGES).stat()
    inventory.fetch("mnist", root)
    assert content(root) == intact
    assert (raw / TEST_IMAGES).stat() == kept


def test_a_broken_off_download_leaves_no_file(serve, tmp_path):
    serve(cut=True)
    error = refusal(tmp_path / "new", download=True)
    assert "The download failed" in error.what
    assert content(tmp_path / "new") == {}


def test_without_network_the_error_says_where_was_looked_and_what_to_do(no_network, root, tmp_path):
    error = refusal(tmp_path / "new", download=True)
    assert str(tmp_path / "new" / "MNIST" / "raw") in error.what
    assert re.search("The download failed: .*refused", error.what)
    assert "cnncourse data --fetch mnist" in error.remedy
    assert content(tmp_path / "new") == {}


def test_a_full_disk_is_named_and_leaves_no_file(root, tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    def download(self):
        Path(self.raw_folder).mkdir(parents=True)
        (Path(self.raw_folder) / TRAIN_IMAGES).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(MNIST, "download", download)
    error = refusal(tmp_path / "new", download=True)
    assert "could not be written: No space left on device" in error.what
    assert "Free 70 MB" in error.remedy
    assert content(tmp_path / "new") == {}


def test_the_digits_stand_in_only_when_asked_and_say_so(no_network, root, tmp_path):
    refusal(tmp_path / "new", download=True)
    with pytest.warns(UserWarning, match="digits stand in for MNIST"):
        data = mnist("laptop", tmp_path / "new", embedded=True)
    assert data.source.kind == "embedded"
    assert data.source.name != "MNIST"
    assert mnist("laptop", root, embedded=True).source.kind == "original"


# --- the data root


def test_data_root_prefers_argument_then_variable_then_user_cache(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNCOURSE_DATA", "relative")
    assert data_root("/somewhere") == Path("/somewhere")
    assert data_root() == tmp_path / "relative"
    monkeypatch.setenv("CNNCOURSE_DATA", "~/data")
    assert data_root() == Path.home() / "data"
    for unset in (lambda: monkeypatch.setenv("CNNCOURSE_DATA", ""), lambda: monkeypatch.delenv("CNNCOURSE_DATA")):
        unset()
        assert data_root().is_absolute()
        assert "cnncourse" in data_root().parts


def test_a_root_from_the_variable_is_used_and_named(root, raw, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_DATA", str(root))
    assert mnist("laptop", download=False).source.location == str(raw)
    (raw / TEST_LABELS).unlink()
    with pytest.raises(CourseError, match="from CNNCOURSE_DATA"):
        mnist("laptop", download=False)


# --- the inventory and its command


def command(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    from cnncourse import cli

    monkeypatch.setattr(sys, "argv", ["cnncourse", "data", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capsys.readouterr()


@pytest.fixture
def chosen(root, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_DATA", str(root))


def test_command_lists_place_sizes_and_hash(chosen, raw, monkeypatch, capsys):
    code, out, _ = command(monkeypatch, capsys, "--check")
    assert code == 0
    for part in ("MNIST: found", str(raw), "train 50", mnist_files.fingerprint(), "scikit-learn digits: found"):
        assert part in out


def test_command_check_fails_on_damage_and_on_a_part(chosen, root, raw, monkeypatch, capsys):
    (raw / TEST_LABELS).unlink()
    assert command(monkeypatch, capsys, "--check")[0] == 1
    truncate(raw)
    code, out, _ = command(monkeypatch, capsys, "--check")
    assert code == 1
    assert "MNIST: damaged" in out
    assert "is truncated" in out
    assert command(monkeypatch, capsys)[0] == 0


def test_command_check_accepts_that_nothing_is_there(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CNNCOURSE_DATA", str(tmp_path))
    code, out, _ = command(monkeypatch, capsys, "--check")
    assert code == 0
    assert "MNIST: not found" in out


def test_command_prints_json(chosen, root, monkeypatch, capsys):
    import json

    code, out, _ = command(monkeypatch, capsys, "--json")
    assert code == 0
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert found["MNIST"]["state"] == "found"
    assert found["MNIST"]["source"]["sha256"] == mnist_files.fingerprint()
    assert found["scikit-learn digits"]["source"]["kind"] == "embedded"


def test_command_fetches(chosen, serve, root, raw, monkeypatch, capsys):
    serve()
    (raw / TEST_LABELS).unlink()
    code, out, _ = command(monkeypatch, capsys, "--fetch", "mnist")
    assert code == 0
    assert "MNIST: found" in out
    code, _, err = command(monkeypatch, capsys, "--fetch", "mnits")
    assert code == 1
    assert "no data set 'mnits' to fetch" in err

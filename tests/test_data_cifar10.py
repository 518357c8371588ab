"""CIFAR-10: batch files, archive or image files, found, verified, downloaded, or refused with a reason."""

import errno
import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import NOBODY, serving
from PIL import Image

from cnncourse.data import cifar10, cifar10_data, cifar10_files, image_cache, inventory, splits
from cnncourse.data.cifar10_data import CLASSES
from cnncourse.data.cifar10_files import ARCHIVE, Batch
from cnncourse.errors import CourseError

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
NAMES = (*TRAIN, TEST)
PER_BATCH = 20
META = pickle.dumps({"label_names": list(CLASSES)}, protocol=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setattr(image_cache, "location", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def tables() -> dict[str, dict]:
    rng = np.random.default_rng(0)
    labels = np.arange(PER_BATCH) % 10
    return {
        name: {
            "data": rng.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8),
            "labels": rng.permutation(labels).tolist(),
        }
        for name in NAMES
    }


def archive_of(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{cifar10_files.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def batch(name: str, content: bytes) -> Batch:
    return Batch(name, len(content), hashlib.md5(content).hexdigest())


@pytest.fixture
def contents(tables, monkeypatch) -> dict[str, bytes]:
    """The content of small batch files; the library expects these instead of the real ones."""
    contents = {name: pickle.dumps(table, protocol=2) for name, table in tables.items()}
    files = {name: batch(name, content) for name, content in contents.items()}
    monkeypatch.setattr(cifar10_files, "TRAIN", tuple(files[name] for name in TRAIN))
    monkeypatch.setattr(cifar10_files, "TEST", (files[TEST],))
    packed = archive_of(contents | {"batches.meta": META})
    monkeypatch.setattr(cifar10_files, "ARCHIVE", batch(ARCHIVE.name, packed))
    monkeypatch.setattr(cifar10_data, "PER_CLASS", {"train": 10, "test": 2})
    return contents | {ARCHIVE.name: packed}


@pytest.fixture
def root(contents, tmp_path) -> Path:
    """A data root with intact batch files."""
    folder = tmp_path / "root" / cifar10_files.FOLDER
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(contents[name])
    return folder.parent


@pytest.fixture
def folder(root) -> Path:
    return root / cifar10_files.FOLDER


@pytest.fixture
def copied(tables, contents, tmp_path) -> Path:
    """A data root with the same images as JPEG files."""
    root = tmp_path / "copied"
    parts = {"train": [tables[name] for name in TRAIN], "test": [tables[TEST]]}
    for part, found in parts.items():
        pixels = np.concatenate([table["data"] for table in found]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([table["labels"] for table in found])
        for label, name in enumerate(CLASSES):
            place = root / cifar10_files.COPY / part / name
            place.mkdir(parents=True)
            for number, image in enumerate(pixels[labels == label]):
                Image.fromarray(image.transpose(1, 2, 0)).save(place / f"{number:04}.jpg")
    return root


def refusal(root: Path, **options) -> CourseError:
    with pytest.raises(CourseError) as caught:
        cifar10("laptop", root, **{"download": False, **options})
    return caught.value


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pairs(*parts) -> set[tuple[int, bytes]]:
    """What is in the parts, in no order."""
    return {(int(y), x.numpy().tobytes()) for part in parts for x, y in zip(part.images, part.labels, strict=True)}


# --- intact batch files


@pytest.mark.parametrize("profile", ["laptop", "full"])
def test_parts_hold_the_images_of_their_files(root, tables, profile):
    data = cifar10(profile, root, download=False)
    for parts, names, size in (((data.train, data.validation), TRAIN, 100), ((data.test,), (TEST,), 20)):
        expected = {
            (label, row.tobytes())
            for name in names
            for row, label in zip(tables[name]["data"], tables[name]["labels"], strict=True)
        }
        assert pairs(*parts) == expected
        assert len(expected) == size
    for part in (data.train, data.validation, data.test):
        assert part.images.dtype == torch.uint8
        assert part.images.shape[1:] == (3, 32, 32)
        assert part.labels.dtype == torch.int64
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert (data.source.name, data.source.kind) == ("CIFAR-10", "original")
    assert data.source.sizes == {"train": 90, "validation": 10, "test": 20}
    assert data.source.publishable


def test_every_part_has_as_many_of_every_class_and_so_have_its_first_images(root):
    data = cifar10("laptop", root)
    for part in (data.train, data.validation, data.test):
        for number in (10, len(part) // 2 + 3, len(part)):
            counts = torch.bincount(part.labels[:number], minlength=10)
            assert counts.max() - counts.min() <= 1


def test_the_split_is_pinned():
    # Another order would mean other results: it must not change with NumPy.
    train, validation = splits.hold_out(np.arange(100) % 10, 10)
    assert validation.tolist() == [11, 92, 3, 20, 59, 48, 96, 55, 64, 17]
    assert train[:10].tolist() == [13, 2, 69, 88, 21, 15, 66, 54, 60, 47]


def test_a_split_of_unequal_classes_keeps_their_shares():
    labels = np.repeat([0, 1, 2], [100, 40, 13])
    train, validation = splits.hold_out(labels, 5)
    assert sorted([*train, *validation]) == [*range(153)]
    assert np.bincount(labels[validation]).tolist() == [20, 8, 2]
    assert np.bincount(labels[train][:61]).tolist() == pytest.approx([40, 16, 5], abs=1)


def test_all_images_can_be_for_training(root):
    data, whole = cifar10("laptop", root), cifar10("laptop", root, validation=False)
    assert pairs(whole.train) == pairs(data.train, data.validation)
    assert torch.equal(whole.train.images[:90], data.train.images)
    assert len(whole.validation) == 0
    assert whole.source.sizes == {"train": 100, "validation": 0, "test": 20}
    assert whole.source.sha256 == data.source.sha256


@pytest.mark.parametrize("validation", [True, False])
def test_mean_and_std_are_those_of_the_training_part(root, validation):
    data = cifar10("laptop", root, validation=validation)
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_the_archive_is_read_where_it_lies(root, contents, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ARCHIVE.name).write_bytes(contents[ARCHIVE.name])
    here, there = cifar10("laptop", root), cifar10("laptop", tmp_path / "other", download=False)
    assert there.source == here.source
    assert torch.equal(there.train.images, here.train.images)
    assert set(content(tmp_path / "other")) == {ARCHIVE.name}
    assert str(tmp_path) not in repr(there.source)


def test_batches_are_read_as_python_2_wrote_them():
    rows, text = np.arange(6144, dtype=np.uint8).reshape(2, 3072), b"T" + (6144).to_bytes(4, "little")
    pickled = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    )
    pickled += text + rows.tobytes() + b"tbU\x06labels](K\x01K\x02eu."
    found = cifar10_files.Found({"old": pickled}, (), ())
    pixels, labels = cifar10_files.arrays(found, (batch("old", pickled),))
    assert np.array_equal(pixels, rows.reshape(2, 3, 32, 32))
    assert labels.tolist() == [1, 2]


def test_checksums_are_those_that_torchvision_publishes():
    from torchvision.datasets import CIFAR10

    assert CIFAR10.base_folder == cifar10_files.FOLDER
    assert [(b.name, b.md5) for b in cifar10_files.TRAIN] == [tuple(entry) for entry in CIFAR10.train_list]
    assert [(b.name, b.md5) for b in cifar10_files.TEST] == [tuple(entry) for entry in CIFAR10.test_list]
    assert (ARCHIVE.name, ARCHIVE.md5) == (CIFAR10.filename, CIFAR10.tgz_md5)


def test_real_cifar10_has_the_sizes_of_the_reports():
    source = cifar10_data.source(Path("anywhere"))
    assert source.sizes == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert source.sha256 == "d7d4cf36f9269caa318d900ed9508803060e9cd38146f6c3294cf8ee345a8c58"


def test_reading_changes_nothing(root):
    before = content(root)
    cifar10("laptop", root)
    inventory.survey(root)
    assert content(root) == before


def test_full_profile_imports_neither_scikit_learn_nor_what_downloads_or_decodes(root):
    script = f"""
import sys
import cnncourse.data
assert not {{"numpy", "torch"}} & set(sys.modules), "importing the package has to be cheap"
from cnncourse.data import cifar10_data, cifar10_files
from cnncourse.data.cifar10_files import Batch
cifar10_files.TRAIN, cifar10_files.TEST = {cifar10_files.TRAIN!r}, {cifar10_files.TEST!r}
cifar10_data.PER_CLASS = {cifar10_data.PER_CLASS!r}
assert len(cnncourse.data.cifar10("full", {str(root)!r}).train) == 90
cnncourse.data.cifar10("smoke")
print(sorted({{"sklearn", "scipy", "torchvision", "PIL", "pandas"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# --- damaged batch files


def alter(path):
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "is truncated: 500 of "),
        (alter, "was altered: right size, but MD5 "),
        (lambda path: path.write_bytes(path.read_bytes() + b"abc"), "is 3 bytes too long"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\n<!DOCTYPE html>"), "is a web page"),
        (lambda path: path.write_bytes(b"hello, hello"), "is another kind of file: it starts with 68 65 6c 6c"),
        (lambda path: shutil.copy(path.with_name(TEST), path), f"holds the data of {TEST}"),
    ],
)
def test_a_damaged_file_is_refused_by_name_with_what_was_expected(root, folder, damage, problem):
    damage(folder / TRAIN[1])
    error = refusal(root)
    expected = cifar10_files.TRAIN[1]
    assert f"{folder / TRAIN[1]} {problem}" in error.what
    assert f"Expected: {expected.size:,} bytes, MD5 {expected.md5}" in error.what
    assert TRAIN[1] in error.remedy
    assert "cnncourse data --fetch cifar10" in error.remedy


def test_a_pickle_is_not_opened_before_its_checksum_was_verified(root, folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (folder / TEST).write_bytes(pickle.dumps(Evil(), protocol=2))
    assert TEST in refusal(root).what
    assert not (tmp_path / "executed").exists()


def test_all_damaged_files_are_named(root, folder):
    for name in (TRAIN[0], TEST):
        (folder / name).write_bytes(b"")
    error = refusal(root)
    assert f"{folder / TRAIN[0]} is empty" in error.what
    assert f"{folder / TEST} is empty" in error.what


def test_a_folder_in_place_of_a_file_is_named(root, folder):
    (folder / TEST).unlink()
    (folder / TEST).mkdir()
    assert f"{folder / TEST} is a folder" in refusal(root).what


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda data: data[:1000], "is truncated: 1,000 of"),
        (lambda data: b"<html>", "is a web page"),
        (lambda data: gzip.compress(b""), "is truncated"),
        (lambda data: b"PK" + data[2:], "is another kind of file"),
    ],
)
def test_a_damaged_archive_is_refused_by_name(contents, tmp_path, damage, problem):
    path = tmp_path / ARCHIVE.name
    path.write_bytes(damage(contents[ARCHIVE.name]))
    error = refusal(tmp_path)
    assert f"{path} {problem}" in error.what
    assert ARCHIVE.name in error.remedy


def test_damage_is_an_error_even_where_the_shapes_may_stand_in(root, folder):
    (folder / TEST).write_bytes(b"")
    assert "is empty" in refusal(root, embedded=True).what


# --- missing batch files


def test_missing_files_are_listed_with_every_remedy(root, folder):
    (folder / TEST).unlink()
    error = refusal(root)
    assert "is incomplete" in error.what
    assert f"{folder} lacks {TEST}." in error.what
    remedies = ("cnncourse data --fetch cifar10", ARCHIVE.name, "CIFAR-10-images", "CNNCOURSE_DATA", "embedded=True")
    for remedy in remedies:
        assert remedy in error.remedy


def test_nothing_is_created_where_downloading_is_not_allowed(tmp_path, cache):
    error = refusal(tmp_path / "nothing")
    assert "was not found" in error.what
    assert "download=False" in error.what
    assert not (tmp_path / "nothing").exists()
    assert not cache.exists()


def test_a_root_that_points_too_deep_is_recognised_and_nothing_is_downloaded(root, folder, copied):
    assert f"set CNNCOURSE_DATA to {root}." in refusal(folder, download=True).remedy
    assert f"set CNNCOURSE_DATA to {copied}." in refusal(copied / cifar10_files.COPY, download=True).remedy
    folder.rename(root / "data")
    assert f"move them to {root / 'data' / cifar10_files.FOLDER}." in refusal(root / "data", download=True).remedy
    assert not list(root.rglob(".download-*"))


def test_unknown_profile_is_refused():
    with pytest.raises(CourseError, match="Unknown profile 'labtop'"):
        cifar10("labtop")


# --- the copy as image files


def test_image_files_are_a_copy_and_say_so(root, copied):
    original, copy = cifar10("laptop", root), cifar10("laptop", copied, download=False)
    assert (copy.source.name, copy.source.kind) == ("CIFAR-10 (JPEG copy)", "copy")
    assert "lossy" in copy.source.note
    assert copy.source.sha256 != original.source.sha256
    assert copy.source.sizes == original.source.sizes
    assert copy.classes == original.classes
    assert copy.train.images.shape == original.train.images.shape
    for part, folder in ((copy.train, "train"), (copy.validation, "train"), (copy.test, "test")):
        for image, label, name in zip(part.images, part.labels, part.names, strict=True):
            assert name.startswith(f"{CLASSES[label]}/")
            pixels = np.asarray(Image.open(copied / cifar10_files.COPY / folder / name))
            assert np.array_equal(image.permute(1, 2, 0), pixels)
    assert not set(copy.train.names) & set(copy.validation.names)


def test_reading_image_files_writes_only_into_the_cache(copied, cache):
    before = content(copied)
    first = cifar10("laptop", copied)
    assert content(copied) == before
    assert len(list(cache.iterdir())) == 2
    second = cifar10("laptop", copied)
    assert torch.equal(first.train.images, second.train.images)
    assert first.source == second.source == cifar10_data.copy_source(copied)


def test_the_original_is_preferred_to_the_copy_and_a_part_of_it_is_not_passed_over(root, folder, copied):
    shutil.copytree(copied / cifar10_files.COPY, root / cifar10_files.COPY)
    assert cifar10("laptop", root).source.kind == "original"
    (folder / TEST).unlink()
    assert f"lacks {TEST}" in refusal(root).what
    shutil.rmtree(folder)
    assert cifar10("laptop", root).source.kind == "copy"


def test_a_missing_class_and_a_missing_part_are_named(copied):
    shutil.rmtree(copied / cifar10_files.COPY / "train" / "frog")
    assert f"{copied / cifar10_files.COPY / 'train'} has no folder for class frog" in refusal(copied).what
    shutil.rmtree(copied / cifar10_files.COPY / "train")
    assert f"{copied / cifar10_files.COPY / 'train'} has no folder for classes" in refusal(copied).what


def test_a_class_with_too_few_images_is_named(copied):
    place = copied / cifar10_files.COPY / "train" / "frog"
    (place / "0003.jpg").unlink()
    error = refusal(copied)
    assert f"{place} holds 9 images." in error.what
    assert "Expected: 10" in error.what
    assert "again" in error.remedy


def test_a_damaged_image_is_named_and_no_reason_for_a_stand_in(copied):
    path = copied / cifar10_files.COPY / "test" / "ship" / "0001.jpg"
    path.write_bytes(path.read_bytes()[:200])
    error = refusal(copied, embedded=True)
    assert f"{path} is a damaged image" in error.what
    assert "0001.jpg" in error.remedy


# --- downloading, by torchvision's own code from a server on this machine


@pytest.fixture
def serve(contents, monkeypatch):
    """Start a server with the intact archive; torchvision will download from it."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "tgz_md5", cifar10_files.ARCHIVE.md5)
    monkeypatch.setattr(CIFAR10, "train_list", [[b.name, b.md5] for b in cifar10_files.TRAIN])
    monkeypatch.setattr(CIFAR10, "test_list", [[b.name, b.md5] for b in cifar10_files.TEST])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": hashlib.md5(META).hexdigest()})
    monkeypatch.setenv("no_proxy", "*")
    with ExitStack() as servers:

        def start(cut=False):
            address = servers.enter_context(serving({ARCHIVE.name: contents[ARCHIVE.name]}, cut))
            monkeypatch.setattr(CIFAR10, "url", address + ARCHIVE.name)

        yield start


@pytest.fixture
def no_network(monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(CIFAR10, "url", NOBODY + ARCHIVE.name)


def test_download_lays_out_verified_files_that_torchvision_accepts(serve, root, tmp_path):
    from torchvision.datasets import CIFAR10

    serve()
    data = cifar10("laptop", tmp_path / "new")
    assert content(tmp_path / "new") == content(root) | {f"{cifar10_files.FOLDER}/batches.meta": META}
    assert data.source == cifar10("laptop", root).source
    assert len(CIFAR10(tmp_path / "new", train=True)) == 100


def test_fetch_replaces_what_is_damaged_or_missing_and_keeps_the_rest(serve, root, folder):
    serve()
    intact = content(folder)
    (folder / TRAIN[0]).write_bytes(b"<html>")
    (folder / TEST).unlink()
    kept = (folder / TRAIN[2]).stat()
    inventory.fetch("cifar10", root)
    assert content(folder) == intact | {"batches.meta": META}
    assert (folder / TRAIN[2]).stat() == kept


def test_fetch_downloads_nothing_where_all_is_there(no_network, root):
    inventory.fetch("cifar10", root)


def test_a_broken_off_download_leaves_no_file(serve, tmp_path):
    serve(cut=True)
    error = refusal(tmp_path / "new", download=True)
    assert "The download failed" in error.what
    assert content(tmp_path / "new") == {}


def test_without_network_the_error_says_where_was_looked_and_what_to_do(no_network, contents, tmp_path):
    error = refusal(tmp_path / "new", download=True)
    assert str(tmp_path / "new" / cifar10_files.FOLDER) in error.what
    assert re.search("The download failed: .*refused", error.what)
    assert "cnncourse data --fetch cifar10" in error.remedy
    assert content(tmp_path / "new") == {}


def test_a_full_disk_is_named_and_leaves_no_file(contents, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    def download(self):
        (Path(self.root) / ARCHIVE.name).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(CIFAR10, "download", download)
    error = refusal(tmp_path / "new", download=True)
    assert "could not be written: No space left on device" in error.what
    assert "Free 600 MB" in error.remedy
    assert content(tmp_path / "new") == {}


def test_the_shapes_stand_in_only_when_asked_and_say_so(no_network, root, tmp_path):
    refusal(tmp_path / "new", download=True)
    with pytest.warns(UserWarning, match="shapes stand in for CIFAR-10"):
        data = cifar10("laptop", tmp_path / "new", embedded=True)
    assert data.source.kind == "embedded"
    assert data.source.name == "drawn shapes"
    assert cifar10("laptop", root, embedded=True).source.kind == "original"


# --- the inventory


def survey(root) -> inventory.Entry:
    [entry] = inventory.survey(root, names={"CIFAR-10"})
    return entry


def test_survey_tells_what_is_there(root, folder, copied, tmp_path):
    found = survey(root)
    assert (found.key, found.name, found.state) == ("cifar10", "CIFAR-10", "found")
    assert found.location == str(folder)
    assert found.source == cifar10("laptop", root).source
    copy = survey(copied)
    assert (copy.key, copy.name, copy.state) == ("cifar10", "CIFAR-10 (JPEG copy)", "found")
    assert copy.source == cifar10("laptop", copied).source
    nothing = survey(tmp_path / "nothing")
    assert (nothing.name, nothing.state, nothing.source) == ("CIFAR-10", "not found", None)
    assert "cnncourse data --fetch cifar10" in nothing.remedy


def test_survey_tells_what_is_damaged(root, folder, copied):
    (folder / TEST).unlink()
    assert survey(root).state == "damaged"
    (folder / TRAIN[0]).write_bytes(b"")
    assert "is empty" in survey(root).problem
    (copied / cifar10_files.COPY / "test" / "ship" / "0001.jpg").write_bytes(b"")
    assert survey(copied).state == "damaged"
    assert "0001.jpg is empty" in survey(copied).problem


def test_survey_lists_every_set_under_the_name_of_its_source(root):
    entries = inventory.survey(root)
    names = [entry.name for entry in entries]
    assert names[:3] == ["MNIST", "CIFAR-10", "Cats and dogs"]
    assert names[3:] == ["scikit-learn digits", "drawn shapes", "drawn cats and dogs"]
    for entry in entries:
        assert entry.source is None or entry.source.name == entry.name
    text = inventory.as_text(entries)
    assert "CIFAR-10: found" in text
    assert "train 90, validation 10, test 20" in text
    only = inventory.survey(root, names={"drawn shapes", "CIFAR-10 (JPEG copy)"})
    assert [entry.name for entry in only] == ["CIFAR-10", "drawn shapes"]


def test_a_stand_in_is_executed_again_when_the_data_come(copied, tmp_path, monkeypatch):
    from cnncourse.pipeline import cache as executions

    monkeypatch.setenv("CNNCOURSE_DATA", str(tmp_path / "nothing"))
    stand_in = {"name": "drawn shapes", "kind": "embedded", "sha256": "s"}
    used = executions.Used(data=executions.data_used([stand_in], "laptop"))
    monkeypatch.setenv("CNNCOURSE_DATA", str(copied))
    assert executions.current(used).data["cifar10"] == cifar10_data.copy_source(copied).sha256 != used.data["cifar10"]

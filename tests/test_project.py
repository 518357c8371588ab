"""Folders are found from anywhere inside a checkout."""

import pytest

from cnncourse.errors import CourseError
from cnncourse.project import Project, committed, module_files


def test_a_project_is_found_from_below(tmp_path):
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    (tmp_path / "_toc.yml").touch()
    assert Project.find(tmp_path / "notebooks" / "deep").root == tmp_path


def test_outside_a_project_the_error_says_what_was_looked_for(tmp_path):
    with pytest.raises(CourseError, match=r"looked for _toc\.yml") as caught:
        Project.find(tmp_path)
    assert "--project" in caught.value.remedy


@pytest.mark.parametrize("kind", ["results", "claims"])
def test_committed_files_are_found(kind):
    assert committed(kind).is_dir()


def test_modules_are_named_as_python_names_them():
    import cnncourse.session

    files = module_files()
    assert files["cnncourse.session"].samefile(cnncourse.session.__file__)
    assert files["cnncourse"].name == "__init__.py"

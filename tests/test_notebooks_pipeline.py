"""Notebooks are found, selected and checked before anything starts."""

from __future__ import annotations

import pytest
from tiny_course import PARAMETERS, add, code, make_course

from cnncourse.errors import CourseError
from cnncourse.pipeline.notebooks import bind_all, find, select


@pytest.fixture
def course(tmp_path):
    project = make_course(tmp_path)
    for stem in ("10_deeper_cnn", "02_numpy_mlp", "09_first_cnn", "03_mnist_classifier"):
        add(project, stem)
    return project


def one(project, *cells, parameters=PARAMETERS):
    add(project, "01_one", *cells, parameters=parameters)
    return find(project)[0]


# --- finding and selecting


def test_notebooks_come_in_reading_order_and_nothing_else_counts(course):
    (course.notebooks / "scratch.ipynb").write_text("{}")
    (course.notebooks / "02_notes.txt").write_text("")
    stems = [notebook.stem for notebook in find(course)]
    assert stems == ["02_numpy_mlp", "03_mnist_classifier", "09_first_cnn", "10_deeper_cnn"]


@pytest.mark.parametrize(
    "selector", ["2", "02", "02_numpy_mlp", "02_numpy_mlp.ipynb", "notebooks/02_numpy_mlp.ipynb", "numpy"]
)
def test_a_notebook_is_selected_by_number_name_path_or_part(course, selector):
    assert [notebook.stem for notebook in select(find(course), [selector])] == ["02_numpy_mlp"]


def test_a_selection_keeps_the_reading_order_and_names_nothing_twice(course):
    assert [n.stem for n in select(find(course), ["10", "numpy", "2"])] == ["02_numpy_mlp", "10_deeper_cnn"]


def test_no_selector_means_all(course):
    assert len(select(find(course))) == 4


@pytest.mark.parametrize("selector", ["numpi_mlp", "02_nunpy_mlp"])
def test_an_unknown_notebook_is_refused_with_the_closest_name(course, selector):
    with pytest.raises(CourseError, match="Did you mean 02_numpy_mlp"):
        select(find(course), [selector])


@pytest.mark.parametrize("selector", ["77", "qqqq", ""])
def test_a_selector_like_none_is_refused_with_all_names(course, selector):
    with pytest.raises(CourseError, match="There are: 02_numpy_mlp, 03_mnist_classifier"):
        select(find(course), [selector])


def test_several_matches_are_refused_by_name(course):
    with pytest.raises(CourseError, match="several notebooks: 09_first_cnn, 10_deeper_cnn"):
        select(find(course), ["cnn"])


def test_two_notebooks_with_one_number_are_several_matches(course):
    add(course, "02_other")
    with pytest.raises(CourseError, match="02_numpy_mlp, 02_other"):
        select(find(course), ["2"])


def test_a_course_without_notebooks_says_so(tmp_path):
    with pytest.raises(CourseError, match="no notebooks"):
        select(find(make_course(tmp_path)))


@pytest.mark.parametrize("content", ["", "not json", "{}", '{"cells": [{}], "metadata": {}, "nbformat": 4}', "\udcff"])
def test_a_damaged_notebook_is_named(course, content):
    path = course.notebooks / "01_one.ipynb"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CourseError, match=r"01_one\.ipynb cannot be read as a notebook"):
        _ = find(course)[0].node


# --- parameters


def test_defaults_are_the_parameters_of_a_run(course):
    assert one(course).bind({}) == {"profile": "smoke", "seed": 0, "device": "cpu", "num_seeds": 3}


def test_a_notebook_without_parameters_takes_none(course):
    notebook = one(course, "1", parameters="")
    assert notebook.bind({}) == {}
    with pytest.raises(CourseError, match="has no parameter 'seed'"):
        notebook.bind({"seed": 1})


@pytest.mark.parametrize(
    ("annotation", "default", "text", "value"),
    [
        ("int", "3", "5", 5),
        ("float", "0.1", "1e-3", 1e-3),
        ("float", "0.1", "1", 1.0),
        ("bool", "False", "true", True),
        ("str", "'a'", "5", "5"),
        ("list[int]", "[1]", "[2, 3]", [2, 3]),
        ("Literal['adam', 'sgd']", "'sgd'", "adam", "adam"),
        ("int | None", "None", "none", None),
        ("int | None", "None", "4", 4),
        ("str | None", "None", "4", "4"),
    ],
)
def test_text_from_the_command_line_is_read_as_the_annotation_says(course, annotation, default, text, value):
    notebook = one(course, parameters=f"x: {annotation} = {default}")
    bound = notebook.bind({"x": text}, text=True)
    assert bound == {"x": value}
    assert type(bound["x"]) is type(value)


@pytest.mark.parametrize(
    ("annotation", "default", "text"),
    [
        ("int", "3", "three"),
        ("int", "3", "3.5"),
        ("bool", "True", "1"),
        ("list[int]", "[1]", "[1, 'a']"),
        ("Literal['adam', 'sgd']", "'sgd'", "adams"),
    ],
)
def test_text_of_another_type_is_refused_with_the_declaration(course, annotation, default, text):
    notebook = one(course, parameters=f"x: {annotation} = {default}")
    with pytest.raises(CourseError, match=r"01_one: x = .* is refused.*\nIt is declared as `x: "):
        notebook.bind({"x": text}, text=True)


def test_a_value_that_is_text_for_an_int_is_refused(course):
    with pytest.raises(CourseError, match="num_seeds = '5' is refused"):
        one(course).bind({"num_seeds": "5"})


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("device", "cdua"), ("profile", "labtop"), ("seed", True)])
def test_the_parameters_of_every_notebook_have_known_values(course, name, value):
    with pytest.raises(CourseError, match=f"{name} = {value!r} is refused"):
        one(course).bind({name: value})


def test_a_profile_typo_gets_a_suggestion(course):
    with pytest.raises(CourseError, match="Did you mean 'laptop'"):
        one(course).bind({"profile": "labtop"})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("x = 3", "not an annotated parameter"),
        ("x: int = 3\nprint(x)", "not an annotated parameter"),
        ("x: int = 2 + 3 * y", "cannot be checked"),
        ("x: Tensor = None", "cannot be checked"),
        ("x: int = 'three'", "cannot be checked"),
        ("x: int", "cannot be checked"),
        ("x: int = (", "line 1"),
    ],
)
def test_a_parameters_cell_holds_annotated_literals_and_nothing_else(course, parameters, message):
    with pytest.raises(CourseError, match=rf"01_one, cell 2 \(parameters\): .*{message}"):
        one(course, parameters=parameters).bind({})


def test_parameters_live_in_one_cell(course):
    with pytest.raises(CourseError, match="cells 2 and 3 are tagged"):
        one(course, code("y: int = 1", "parameters")).bind({})


def test_only_values_that_differ_from_the_defaults_are_injected(course):
    notebook = one(course, parameters="x: int = 1\ny: bool = True\nz: float = 1.0")
    assert notebook.changed({"x": 1, "y": True, "z": 1.0}) == {}
    assert notebook.changed({"x": 2, "y": True, "z": 1.0}) == {"x": 2}


# --- syntax


def test_a_syntax_error_is_found_without_a_kernel(course):
    with pytest.raises(CourseError, match=r"01_one: cell 4, line 2: .*def f\(:"):
        one(course, "x = 1", "y = 1\ndef f(:").check_syntax()


def test_magics_await_and_errors_on_purpose_are_no_syntax_errors(course):
    cells = ["%matplotlib inline\n!ls", "%%bash\nif x; then", "await f()", code("1 +", "raises-exception")]
    one(course, *cells).check_syntax()


# --- parameters of a whole run


def test_a_parameter_goes_to_the_notebooks_that_have_it(course):
    add(course, "01_one", parameters="seed: int = 0\nwidth: int = 1")
    bound = bind_all(find(course), {"seed": 7}, {"width": "3"})
    assert bound["01_one"] == {"seed": 7, "width": 3}
    assert bound["02_numpy_mlp"]["seed"] == 7
    assert "width" not in bound["02_numpy_mlp"]


def test_a_parameter_that_no_notebook_has_is_refused(course):
    with pytest.raises(CourseError, match=r"None of the selected notebooks has a parameter 'widht'.*\n.*num_seeds"):
        bind_all(find(course), {}, {"widht": "3"})
    with pytest.raises(CourseError, match=r"02_numpy_mlp has no parameter 'num_seed'.\nDid you mean 'num_seeds'"):
        bind_all(select(find(course), ["2"]), {}, {"num_seed": "3"})


def test_a_broken_notebook_does_not_keep_the_others_from_their_parameters(course):
    add(course, "01_one", "def f(:")
    (course.notebooks / "03_mnist_classifier.ipynb").write_text("no notebook")
    bound = bind_all(find(course), {"seed": 1}, {})
    assert isinstance(bound["01_one"], CourseError)
    assert isinstance(bound["03_mnist_classifier"], CourseError)
    assert bound["02_numpy_mlp"]["seed"] == 1

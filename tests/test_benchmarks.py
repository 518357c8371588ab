"""Every benchmark runs, at sizes that measure nothing, and tells what it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.side_by_side import measure

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_prints_and_writes_rates_and_goals(name, tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        name,
        "--quick",
        "--device",
        "cpu",
        "--json",
        str(tmp_path / "b.json"),
    ]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["about"]["quick"]
    for comparison in content["comparisons"]:
        assert len(comparison["contenders"]) >= 2
        for contender in comparison["contenders"]:
            assert len(contender["wall"]) == len(contender["cpu"]) == 2
            assert contender["per_second"] > 0
            assert contender["name"] in printed
        for goal in comparison["goals"]:
            assert goal["text"] in printed
            assert goal["quartiles"][0] <= goal["ratio"] <= goal["quartiles"][1]
        assert comparison["goals"]


def test_the_order_changes_from_round_to_round():
    calls = []
    contenders = {name: ((lambda name=name: calls.append(name)), 1) for name in "ab"}
    result = measure("order", "", "calls", contenders, rounds=2, warm_up=False)
    assert calls == ["a", "b", "b", "a"]
    assert [len(contender.wall) for contender in result.contenders] == [2, 2]


def test_a_ratio_is_that_of_the_rates():
    result = measure("ratio", "", "calls", {"a": (lambda: None, 10), "b": (lambda: None, 5)}, rounds=3)
    for contender, seconds in zip(result.contenders, (1.0, 2.0), strict=True):
        contender.wall = [seconds] * 3
    result.judge("four times", "a", "b", 4, clock="wall")
    result.judge("five times", "a", "b", 5, clock="wall")
    assert [(goal.ratio, goal.met) for goal in result.goals] == [(4.0, True), (4.0, False)]


def test_an_unknown_benchmark_is_named():
    app = Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["lodaer"])
    assert result.exit_code == 2
    assert "lodaer" in result.output

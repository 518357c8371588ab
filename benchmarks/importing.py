"""`import cnncourse` (and what a notebook takes from it first) against `import torch`, in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.side_by_side import Comparison, measure

STATEMENTS = {
    "import cnncourse": "import cnncourse",
    "torch, then cnncourse's training": "import torch; from cnncourse.training import Experiment, fit, sweep",
    "import torch": "import torch",
}


def run(device: str, quick: bool) -> list[Comparison]:
    """The first round writes bytecode and is not counted."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def fresh(statement: str):
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True, env=environment)

    contenders = {name: (fresh(statement), 1) for name, statement in STATEMENTS.items()}
    result = measure("import", "fresh processes", "imports", contenders, rounds=2 if quick else 7)
    result.judge("import cnncourse within 30 % of import torch", "import cnncourse", "import torch", 1 / 1.3)
    text = "with models and training loaded, too, within 30 % of import torch"
    result.judge(text, "torch, then cnncourse's training", "import torch", 1 / 1.3)
    return [result]

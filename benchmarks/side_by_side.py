"""Contenders measured in turns, so that whatever else the machine does slows down all of them."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch


@dataclass
class Contender:
    """One way to do the work, and how long it took in each round.

    Attributes
    ----------
    name : str
    work : float
        Number of units (images, steps, gradients) that one round does.
    wall, cpu : list of float
        Seconds of each round; `cpu` counts all threads and child processes.
    """

    name: str
    work: float
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def seconds(self, clock: str) -> list[float]:
        """Of each round, by 'wall' or 'cpu'."""
        return self.wall if clock == "wall" else self.cpu

    def rate(self, clock: str) -> float:
        """Units per second, by the median round."""
        return self.work / median(self.seconds(clock))


@dataclass
class Goal:
    """What was hoped for, and what became of it.

    Attributes
    ----------
    text : str
    ratio : float
        Median over the rounds of the two contenders' quotient.
    quartiles : (float, float)
        Of that quotient.
    met : bool
    """

    text: str
    ratio: float
    quartiles: tuple[float, float]
    met: bool


@dataclass
class Comparison:
    """Contenders at the same work."""

    benchmark: str
    case: str
    unit: str
    contenders: list[Contender]
    goals: list[Goal] = field(default_factory=list)

    def get(self, name: str) -> Contender:
        return next(contender for contender in self.contenders if contender.name == name)

    def judge(self, text: str, ours: str, other: str, at_least: float, clock: str = "cpu") -> None:
        """Add a goal: `ours` has at least so many times the rate of `other`.

        `clock`: 'cpu' compares per CPU-second, which a busy machine disturbs less; 'wall' is what a reader waits for.
        """
        a, b = self.get(ours), self.get(other)
        pairs = zip(a.seconds(clock), b.seconds(clock), strict=True)
        ratios = sorted((y / b.work) / (x / a.work) for x, y in pairs)
        middle = median(ratios)
        quartiles = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        self.goals.append(Goal(text, middle, quartiles, middle >= at_least))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the rates beside the seconds."""
        plain = asdict(self)
        for entry, contender in zip(plain["contenders"], self.contenders, strict=True):
            entry |= {"per_second": contender.rate("wall"), "per_cpu_second": contender.rate("cpu")}
        return plain


def measure(
    benchmark: str,
    case: str,
    unit: str,
    contenders: Mapping[str, tuple[Callable[[], object], float]],
    *,
    rounds: int,
    device: str = "cpu",
    warm_up: bool = True,
) -> Comparison:
    """Run all contenders `rounds` times, each round in another order.

    Parameters
    ----------
    benchmark, case, unit : str
        Names for the table.
    contenders : mapping of str to (callable, float)
        By name: what to call, and how many units of work one call does.
    rounds : int
        How often each is called.
    device : str
        Waited for before a clock is read.
    warm_up : bool
        Whether each is called once before: the first call allocates memory and chooses kernels.
    """
    found = {name: Contender(name, work) for name, (_, work) in contenders.items()}
    names = list(contenders)
    for name in names if warm_up else ():
        contenders[name][0]()
    for k in range(rounds):
        shift = k % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            wait_for(device)
            wall, cpu = time.perf_counter(), cpu_seconds()
            contenders[name][0]()
            wait_for(device)
            found[name].wall.append(time.perf_counter() - wall)
            found[name].cpu.append(max(cpu_seconds() - cpu, 1e-9))
    return Comparison(benchmark, case, unit, list(found.values()))


def cpu_seconds() -> float:
    """Of this process, its threads, and its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def wait_for(device: str) -> None:
    """Until a GPU has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)

"""Runs that belong together: cases, the arms in them, and one accuracy per seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from topokit.errors import FileFormatError
from topokit_train.studies.statistics import Mean, mean_of
from topokit_train.studies.tables import Run, Tables

NAMES = {
    "lenet-300-100": "LeNet-300-100",
    "lenet-5": "LeNet-5",
    "mlp": "MLP",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "digits": "digits",
}
PAPERS_CASES = (("lenet-300-100", "mnist"), ("lenet-5", "mnist"), ("lenet-5", "cifar10"))
"""(model, dataset) of the paper."""
MASKS = ("one-time", "iterative")
"""The arms of networks that are trained anew on what pruning left."""
CLASSES = 10
"""Of all datasets of the study."""
RADIX = ("radix", "radix-split")
"""What stands for a RadiX-Net: where none reaches a density, one whose pairs are partly without a path."""

Seeds = dict[int, float]
"""seed -> test accuracy."""


@dataclass(frozen=True)
class Case:
    """What arms share: they are compared within a case only. Bigger networks count as the one that they enlarge."""

    model: str
    dataset: str
    recipe: str
    epochs: int

    @property
    def network(self) -> str:
        """Such as "LeNet-5 on MNIST"."""
        return f"{NAMES.get(self.model, self.model)} on {NAMES.get(self.dataset, self.dataset)}"

    @property
    def order(self) -> tuple[object, ...]:
        """The paper's networks in its order and then all others; its recipe first."""
        network = (self.model, self.dataset)
        place = PAPERS_CASES.index(network) if network in PAPERS_CASES else len(PAPERS_CASES)
        return (place, *network, self.recipe != "paper", self.recipe, self.epochs)

    def __str__(self) -> str:
        return f"{self.network}, {self.recipe} recipe, {self.epochs} epochs"


def case_of(run: Run) -> Case:
    """The case that a run belongs to."""
    return Case(run.network or run.model, run.dataset, run.recipe, run.epochs)


@dataclass(frozen=True)
class Samples:
    """The finished runs of an experiment within a case.

    Args:
        experiment: its tag.
        case: what they share.
        arms: (arm, density, or for same-edges times) -> seed -> run.
    """

    experiment: str
    case: Case
    arms: dict[tuple[str, float], dict[int, Run]]

    def places(self, *arms: str) -> list[float]:
        """The densities, or times, at which one of these arms was run, descending; of all arms without any."""
        return sorted({x for arm, x in self.arms if not arms or arm in arms}, reverse=True)

    def seeds(self, arm: str, x: float) -> Seeds:
        """Seed -> test accuracy of an arm; `radix` takes radix-split where there is no RadiX-Net."""
        for name in RADIX if arm == "radix" else (arm,):
            if (name, x) in self.arms:
                return {seed: run.test_accuracy or 0.0 for seed, run in self.arms[name, x].items()}
        return {}

    def stands_for(self, arm: str, x: float) -> str:
        """The name of the arm that `seeds` takes."""
        return "radix-split" if arm == "radix" and ("radix", x) not in self.arms else arm

    def dense(self) -> Seeds:
        """Seed -> test accuracy of the dense network."""
        return self.seeds("dense", 1.0)

    def means(self) -> dict[tuple[str, float], Mean]:
        """(arm, density or times) -> what its seeds come to."""
        return {
            key: mean_of([run.test_accuracy or 0.0 for run in runs.values()]) for key, runs in sorted(self.arms.items())
        }


def samples(tables: Tables, experiment: str) -> list[Samples]:
    """The finished training runs of an experiment, case by case.

    Raises:
        FileFormatError: two different runs of one arm and seed, of which only one can be its pair.
    """
    cases: dict[Case, dict[tuple[str, float], dict[int, Run]]] = {}
    for run in tables.finished:
        if run.experiment == experiment:
            place = _place(run)
            of_arm = cases.setdefault(case_of(run), {}).setdefault((run.arm, place), {})
            other = of_arm.setdefault(run.seed, run)
            if other.run != run.run:
                raise FileFormatError(
                    f"runs {other.run} and {run.run} are both {experiment}, {run.arm} {place:g}, seed {run.seed} of "
                    f"{case_of(run)}: tell them apart by a tag of the grid"
                )
    return [Samples(experiment, case, arms) for case, arms in sorted(cases.items(), key=_order)]


def _order(item: tuple[Case, object]) -> tuple[object, ...]:
    return item[0].order


def _place(run: Run) -> float:
    if run.experiment == "same-edges":
        return run.times or 1.0
    return 1.0 if run.density is None or run.arm == "dense" else round(run.density, 6)


def cases_of(tables: Tables, experiment: str) -> dict[Case, dict[int, list[Run]]]:
    """The finished runs of an experiment that prunes: case -> seed -> runs."""
    found: dict[Case, dict[int, list[Run]]] = {}
    for run in _distinct(run for run in tables.finished if run.experiment == experiment):
        found.setdefault(case_of(run), {}).setdefault(run.seed, []).append(run)
    return dict(sorted(found.items(), key=_order))


def _distinct(runs: Iterable[Run]) -> list[Run]:
    return list({run.run: run for run in runs}.values())

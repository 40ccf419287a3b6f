"""What the paper found: test accuracies of single runs, from the authors' result sheet.

Source: Alford, Robinett, Milechin and Kepner 2018, "Training Behavior of Sparse Neural Network Topologies",
arXiv:1810.00299.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "arXiv:1810.00299"


@dataclass(frozen=True)
class Point:
    """A run of the paper.

    Args:
        experiment: the experiment of ours that repeats it.
        model: its name here.
        dataset: its name here.
        arm: what was compared.
        x: density, or for same-edges the number of times the dense network's weights.
        accuracy: a fraction of the test images.
    """

    experiment: str
    model: str
    dataset: str
    arm: str
    x: float
    accuracy: float


_SPARSITIES = (0, 0.5, 0.75, 0.9, 0.95, 0.99)
_L300, _L5 = ("lenet-300-100", "mnist"), ("lenet-5", "mnist")
_L5_CIFAR = ("lenet-5", "cifar10")
_BY_SPARSITY = {
    ("retrained", *_L300, "one-time"): (97.03, 96.88, 96.82, 96.19, 95.65, 56.08),
    ("iterative", *_L300, ""): (97.03, 97.50, 97.44, 97.40, 97.30, 96.83),
    ("retrained", *_L300, "iterative"): (97.03, 97.03, 97.05, 97.02, 96.34, 96.08),
    ("retrained", *_L5, "one-time"): (99.25, 98.95, 79.94, 89.92, 98.32, 11.35),
    ("iterative", *_L5, ""): (99.25, 99.17, 98.91, 98.84, 98.80, 98.48),
    ("retrained", *_L5, "iterative"): (99.25, 98.78, 69.92, 88.67, 98.54, 77.96),
    ("iterative", *_L5_CIFAR, ""): (80.14, 79.59, 79.08, 74.90),
}
_BY_DENSITY: dict[tuple[str, str, str], dict[float, float]] = {
    (*_L300, "random"): {0.01: 74.1, 0.05: 91.49, 0.1: 93.42, 0.5: 96.28},
    (*_L300, "radix"): {0.1: 93.57},
    (*_L300, "dense"): {1: 97.03},
    (*_L5, "random"): {0.01: 49.36, 0.05: 98.38, 0.1: 98.77, 0.5: 99.20},
    (*_L5, "dense"): {1: 99.20},
    (*_L5_CIFAR, "random"): {0.01: 9.99, 0.05: 71.34, 0.1: 74.61, 0.5: 79.22},
    (*_L5_CIFAR, "dense"): {1: 80.14},
}
_BY_TIMES: dict[tuple[str, str, str], dict[float, float]] = {
    (*_L300, "random"): {2: 96.65, 10: 94.45, 100: 94.3},
    (*_L300, "radix"): {10: 93.98},
    (*_L300, "dense"): {1: 97.03},
    (*_L5, "random"): {2: 99.14, 10: 98.91},
    (*_L5, "dense"): {1: 99.20},
    (*_L5_CIFAR, "random"): {2: 80.40, 10: 79.35},
    (*_L5_CIFAR, "dense"): {1: 80.14},
}

POINTS = (
    *(
        Point(*key, round(1 - sparsity, 4), percent / 100)
        for key, row in _BY_SPARSITY.items()
        for sparsity, percent in zip(_SPARSITIES, row, strict=False)  # CIFAR-10 ends at .9
    ),
    *(Point("same-size", *key, x, percent / 100) for key, row in _BY_DENSITY.items() for x, percent in row.items()),
    *(Point("same-edges", *key, x, percent / 100) for key, row in _BY_TIMES.items() for x, percent in row.items()),
)


def points(experiment: str, model: str, dataset: str) -> dict[str, list[tuple[float, float]]]:
    """The paper's points of an experiment: arm -> (x, accuracy), ascending in x."""
    found: dict[str, list[tuple[float, float]]] = {}
    for point in POINTS:
        if (point.experiment, point.model, point.dataset) == (experiment, model, dataset):
            found.setdefault(point.arm, []).append((point.x, point.accuracy))
    return {arm: sorted(of_arm) for arm, of_arm in found.items()}

"""The Graph Challenge's inference in GraphBLAS, in torch and by the native library, in turn, on the same images.

    TOPOKIT_DATA_DIR=... python benchmarks/challenge.py [--neurons 1024] [--layers 120] [--images 60000] [--repeat 3]

The images are MNIST's training images as the challenge makes them. Seconds count the layers' products only, as the
challenge does; the time to make the layers and the images does not count. All ways must name the same categories.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
from math import isqrt
from pathlib import Path
from unittest.mock import patch

import torch

from topokit import GraphChallenge
from topokit._native import description, native
from topokit.challenge import Inference, infer, official_bias, resized
from topokit.layered import Layer, Layered
from topokit_train.datasets import load_dataset
from topokit_train.inference import infer as fast_infer


def in_torch(net: Layered, images: Layer, bias: float) -> Inference:
    """The fast engine as it is without the native library."""
    with patch("topokit_train.inference.native", lambda: None):
        return fast_infer(net, images, bias)


ENGINES = {"graphblas": infer, "torch": in_torch, **({"native": fast_infer} if native() else {})}


def main() -> None:
    """Run all engines in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=120)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--json", type=Path, help="write the measurements here")
    args = parser.parse_args()
    net = GraphChallenge(neurons=args.neurons, layers=args.layers)
    pictures = load_dataset(args.dataset, None).train_inputs[:, 0]
    images = resized(pictures[: args.images], isqrt(args.neurons))
    found: dict[str, list[float]] = {name: [] for name in ENGINES}
    categories = set()
    for _ in range(args.repeat):
        for name, engine in ENGINES.items():
            result = engine(net, images, official_bias(args.neurons))
            found[name].append(result.edges_per_second)
            categories.add(tuple(result.categories.tolist()))
    if len(categories) > 1:
        raise SystemExit("the engines do not agree")
    about = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("python-graphblas", "torch")},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }
    print(" ".join(f"{name} {value}" for name, value in about.items()), description(), sep=", ")
    print(f"{args.neurons} x {args.layers}, {images.shape[0]:,} images, {len(categories.pop()):,} survive")
    print("engine     edges/s: least     median       most  x graphblas")
    for name, rates in found.items():
        ratio = statistics.median(a / b for a, b in zip(rates, found["graphblas"], strict=True))
        print(f"{name:<12}{min(rates):>13.3g}{statistics.median(rates):>11.3g}{max(rates):>11.3g}{ratio:>13.1f}")
    if args.json:
        args.json.write_text(json.dumps({"about": about, "edges per second": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

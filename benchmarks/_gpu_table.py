"""The table that gpu.py prints."""

from __future__ import annotations

from typing import Any


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{report['device']}, {report['date']}, torch {report['torch']}, {report['threads']} CPU threads")
    for row in report["checked"]:
        errors = " ".join(f"{error:.1e}" for error in row["output, input, values"])
        print(f"{row['layer']:<30}{row['kernel']:<10}relative error of output, input and values gradient: {errors}")
    for kernel, apart in report["largest loss difference over 30 steps"].items():
        print(f"{'lenet-300-100':<30}{kernel:<10}largest loss difference over 30 steps: {apart:.1e}")
    for row in report["stacked seeds"]:
        apart = row["relative loss difference"]
        print(
            f"{'stack of 4':<30}seed {row['seed']:<5}relative loss difference to the seed alone on the CPU: {apart:.1e}"
        )
    for row in report["lenet-5"]:
        kind = "sparse" if row["sparse"] else "dense"
        print(
            f"{'lenet-5':<30}{kind:<10}relative loss difference over ten steps: {row['relative loss difference']:.1e}"
        )
    print(f"{'forward + backward':<30}{'batch':>6}  ms and times faster than dense")
    for row in report["timed"]:
        dense = row["ms"]["dense"]
        times = "  ".join(f"{name} {ms:.3f} ({dense / ms:.2f}x)" for name, ms in row["ms"].items())
        print(f"{row['what']:<30}{row['batch']:>6} {row['dtype']:<9} {times}")
    for row in report["stacks"]:
        rate = row["network-steps per second"]
        print(f"{'training lenet-300-100':<30}{row['networks']:>6} networks  {row['ms']:.2f} ms, {rate:.0f} steps/s")
    print(f"training lenet-5, ms a step: {report['lenet-5 ms']}")
    print(f"challenge: {report['challenge']}")
    print(f"MNIST: {report['mnist']}")

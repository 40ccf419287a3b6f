"""How many small faults the tests find: each of them is put into a copy of the code alone (a mutant).

    pip install coverage
    python benchmarks/mutants.py [--seed 0] [--count 30] [--jobs 2]

The faults are drawn from all faults of _faults.py on lines that a test runs, except those that change nothing
(_equivalents.py says why). For each, the test files that run its line are run, the most specific first, until a test
fails: then the fault is caught. Equal seeds draw equal faults; after a change of the code, faults elsewhere keep their
order.

Which lines each test file runs is measured once and kept in build/mutants.json. A changed test file is measured again,
after a change of a package all of them are: this takes two to three times as long as the tests. Nothing in this tree is
changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from _equivalents import EQUIVALENTS
from _faults import Fault, faults

ROOT = Path(__file__).parents[1]
PACKAGES = ("topokit/", "topokit_train/", "cli/topokit_cli/")
KEPT = ROOT / "build" / "mutants.json"
MEMORY = 2**34  # bytes that a process may address: a fault must not take all memory of the machine
SETTINGS = """[run]
source = topokit,topokit_train,topokit_cli
parallel = true
patch = subprocess
"""


@dataclass(frozen=True)
class Mutant:
    """A fault in a file, and the test files that run its line, the most specific first.

    Args:
        place: tells it from all other faults, and stays the same if other lines of the file change.
        change: its line before and after.
    """

    path: str
    fault: Fault
    place: str
    change: str
    tests: Sequence[str]

    def __str__(self) -> str:
        return f"{self.path}: {self.change}"


def tracked() -> list[str]:
    """Return the names of the files that git would commit."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    return sorted(name for name in names if (ROOT / name).is_file())


def run(folder: Path, *words: str, seconds: float = 7200) -> tuple[int, str]:
    """Run `python -m WORDS` in the copy; return its exit code, -9 after so many seconds, and what it printed."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder), str(folder / "cli"))),
        "PYTHONDONTWRITEBYTECODE": "1",  # old bytecode hides a fault of the same length
    }
    command = [sys.executable, "-m", *words]
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=printed, stderr=printed, start_new_session=True
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what the tests started
        code = process.wait()
        printed.seek(0)
        return code, printed.read()


def pytest(*tests: str) -> tuple[str, ...]:
    """Return the words that run tests until one fails."""
    return "pytest", "-x", "-p", "no:cacheprovider", "--timeout=900", "--tb=no", *tests


def measure(folder: Path, test: str) -> dict[str, object] | None:
    """Return how long a test file takes, and which lines of which files it runs; None if a test fails."""
    from coverage import CoverageData

    name = re.sub(r"\W", "-", test)
    settings, data = folder / f"{name}.ini", folder / f".coverage-{name}"
    settings.write_text(f"{SETTINGS}data_file = {data}\n")
    start = time.perf_counter()
    code, printed = run(folder, "coverage", "run", f"--rcfile={settings}", "-m", *pytest(test))
    seconds = time.perf_counter() - start
    if code not in (0, 5):  # 5: no tests
        print(f"not used, as it fails without a fault: {test}\n{printed}", flush=True)
        return None
    run(folder, "coverage", "combine", f"--rcfile={settings}")
    found = CoverageData(str(data))
    found.read()
    lines = {str(Path(path).relative_to(folder)): sorted(found.lines(path) or []) for path in found.measured_files()}
    data.unlink()
    return {"seconds": round(seconds, 1), "lines": {path: numbers for path, numbers in lines.items() if numbers}}


def measured(folder: Path, names: Sequence[str], jobs: int) -> dict[str, dict]:
    """Return what `measure` gives for each test file, measuring what has changed, so many at a time."""
    base = digest(folder, *(name for name in names if name.startswith(PACKAGES)))
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    tests = [name for name in names if re.fullmatch(r"tests/(.*/)?test_\w+\.py", name)]
    tests += [name for name in names if name.startswith(PACKAGES) and b">>> " in (folder / name).read_bytes()]
    keys = {test: f"{test} {base} {digest(folder, test)}" for test in tests}
    missing = [test for test in tests if keys[test] not in kept]
    KEPT.parent.mkdir(exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        for test, found in zip(missing, pool.map(lambda test: measure(folder, test), missing), strict=True):
            if found:
                kept[keys[test]] = found
                KEPT.write_text(json.dumps(kept))
                print(f"{found['seconds']:6.0f} s  {test}", flush=True)
    return {test: kept[keys[test]] for test in tests if keys[test] in kept}


def digest(folder: Path, *names: str) -> str:
    """Return a short hash of files."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()[:16]


def draw(folder: Path, seed: int, count: int, covered: dict[str, dict]) -> list[Mutant]:
    """Return mutants on covered lines, in the order of hashes: a change of the code leaves others in their order."""
    paths = sorted({path for one in covered.values() for path in one["lines"] if path.endswith(".py")})
    mutants = [mutant for path in paths for mutant in mutants_of(folder, path, covered) if mutant.tests]
    print(f"{len(mutants)} faults on covered lines", flush=True)
    drawn = [mutant for mutant in mutants if str(mutant) not in EQUIVALENTS]
    return sorted(drawn, key=lambda mutant: hashlib.sha256(f"{seed} {mutant.place}".encode()).digest())[:count]


def mutants_of(folder: Path, path: str, covered: dict[str, dict]) -> Iterator[Mutant]:
    """Yield the mutants of a file; a test file is specific if most of what it runs is in this file."""

    def share(test: str) -> float:
        lines = covered[test]["lines"]
        return len(lines.get(path, ())) / sum(map(len, lines.values()), 1)

    run_by = defaultdict(list)
    for test in sorted(covered, key=share, reverse=True):
        for line in covered[test]["lines"].get(path, ()):
            run_by[line].append(test)
    source, seen = (folder / path).read_text(), Counter()
    for fault in faults(source):
        before, after = (text.splitlines()[fault.line - 1].strip() for text in (source, fault.put_into(source)))
        place = f"{path}: {before}: {fault}"
        seen[place] += 1
        tests = tuple(run_by[fault.line])
        yield Mutant(path, fault, f"{place} {seen[place]}", f"{before} -> {after}", tests)


def verdict(folder: Path, mutant: Mutant, covered: dict[str, dict]) -> str:
    """Run the tests with the fault; one that fails must pass without it, or it says nothing."""
    source = (folder / mutant.path).read_text()
    (folder / mutant.path).write_text(mutant.fault.put_into(source))
    try:
        seconds = 300 + 5 * sum(covered[test]["seconds"] for test in mutant.tests)
        code, printed = run(folder, *pytest(*mutant.tests), seconds=seconds)
    finally:
        (folder / mutant.path).write_text(source)
    if code in (0, 5):
        return f"escaped {len(mutant.tests)} test files"
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", printed, re.MULTILINE)
    if failed and run(folder, *pytest(*failed))[0] != 0:
        return f"unclear: fails without the fault too: {failed[0]}"
    return f"caught by {failed[0] if failed else f'exit code {code}'}"


def main() -> None:
    """Measure the coverage, draw mutants, and print for each whether a test fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2, help="test runs at a time, each in a copy of its own")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as temporary:
        names, free = tracked(), Queue()
        copies = [Path(temporary).resolve() / str(job) for job in range(args.jobs)]
        for folder in copies:
            free.put(folder)
            for name in [*names, *(str(path.relative_to(ROOT)) for path in ROOT.glob("topokit/libtopokit*"))]:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((ROOT / name).read_bytes())
        covered = measured(copies[0], names, args.jobs)
        drawn, caught = draw(copies[0], args.seed, args.count, covered), 0

        def tried(mutant: Mutant) -> tuple[str, float]:
            folder, start = free.get(), time.perf_counter()
            try:
                return verdict(folder, mutant, covered), time.perf_counter() - start
            finally:
                free.put(folder)

        with ThreadPoolExecutor(args.jobs) as pool:
            for i, (mutant, (found, seconds)) in enumerate(zip(drawn, pool.map(tried, drawn), strict=True), 1):
                caught += found.startswith("caught")
                print(f"{i:3} {mutant}\n    {found}, {seconds:.0f} s", flush=True)
    print(f"seed {args.seed}: {caught} of {len(drawn)} caught")


if __name__ == "__main__":
    main()

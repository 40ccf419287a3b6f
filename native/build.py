"""Compile the native library into topokit/, as hatchling's build hook or by `python native/build.py`.

The library is optional: without a working compiler, the package is pure Python and computes the same more slowly.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # only hatchling needs the hook
    BuildHookInterface = object

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent / "topokit" / "libtopokit.so"
FLAGS = "-std=c++17 -fPIC -fno-exceptions -fno-rtti -fno-math-errno -ffp-contract=fast -fvisibility=hidden -pthread"
X86 = platform.machine().lower() in ("x86_64", "amd64")
# name of an instruction set -> the size of its vectors in bytes, and the compiler's flags
ISAS = {
    "baseline": (16, ""),
    **(
        {"avx2": (32, "-mavx2 -mfma"), "avx512": (64, "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma")}
        if X86
        else {}
    ),
}


def compile_library(target: Path = LIBRARY, flags: str = "-O3") -> None:
    """Compile and link all sources, the instruction sets side by side.

    Args:
        target: the file to write.
        flags: more flags for the compiler, such as sanitizers.

    Raises:
        OSError, subprocess.CalledProcessError: no compiler is installed, or the compilation fails.
    """
    compiler = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")
    common = [*compiler, *FLAGS.split(), *flags.split(), *(["-DTK_X86"] if X86 else [])]
    with tempfile.TemporaryDirectory() as folder:
        steps = {
            f"step-{name}": ["step.cpp", f"-DTK_BYTES={size}", f"-DTK_BUILD=tk_{name}", *isa.split()]
            for name, (size, isa) in ISAS.items()
        }
        parts = {**steps, "library": ["library.cpp"], "graphs": ["graphs.cpp"]}
        objects = [str(Path(folder, f"{name}.o")) for name in parts]
        running = [
            subprocess.Popen([*common, "-c", str(HERE / source), *own, "-o", out])
            for (source, *own), out in zip(parts.values(), objects, strict=True)
        ]
        codes = [process.wait() for process in running]
        if any(codes):
            raise subprocess.CalledProcessError(max(codes, key=abs), compiler)
        made = Path(folder, target.name)
        subprocess.run([*common, "-shared", *objects, "-o", str(made), "-lm"], check=True)
        whole = target.with_name(f".{target.name}.{os.getpid()}")
        whole.write_bytes(made.read_bytes())
        whole.replace(target)  # a process that uses the old file keeps it


class NativeHook(BuildHookInterface):  # type: ignore[misc, unused-ignore]
    """Compile the library into a wheel or, for an editable install, into topokit/."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, or say why not."""
        if self.target_name != "wheel":
            return
        editable = version == "editable"
        self.folder = tempfile.TemporaryDirectory()  # is removed with the hook
        made = LIBRARY if editable else Path(self.folder.name) / LIBRARY.name
        try:
            compile_library(made)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"topokit is built without its native library: {error}", file=sys.stderr)
            made.unlink(missing_ok=True)  # an older one may have other functions than the Python code calls
            return
        if not editable:
            build_data["force_include"][str(made)] = f"topokit/{LIBRARY.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


if __name__ == "__main__":
    compile_library(Path(sys.argv[1]) if len(sys.argv) > 1 else LIBRARY, " ".join(sys.argv[2:]) or "-O3")

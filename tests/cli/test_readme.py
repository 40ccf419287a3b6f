"""The README's tour is run, and prints what the README says it prints."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()
VARIES = r"\d+\.\d+%|\d+\.\d+ s|\d\.\d{3}"  # accuracies and seconds depend on the machine


def comparable(text):
    return re.sub(r" +", " ", re.sub(VARIES, "#", text)).strip()


def test_the_console_blocks(topokit):
    blocks = re.findall(r"```console\n\$ topokit (.*)\n((?:.*\n)*?)```", README)
    assert len(blocks) >= 6
    for command, output in blocks:
        run = topokit(*shlex.split(command))
        assert run.code == 0, run.err
        assert comparable(run.out) == comparable(output), command


def test_the_python_block(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    checked = code + "\nassert model[0].values.numel() == masks['0.weight'].sum() == 23520"
    subprocess.run([sys.executable, "-W", "error", "-c", checked], check=True, cwd=tmp_path, capture_output=True)


def test_links_lead_somewhere():
    root = Path(__file__).parents[2]
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (root / target).exists(), target

"""Running the command line inside the test's process."""

import json
import sys
from dataclasses import dataclass

import pytest
from topokit_cli.main import main


@dataclass
class Run:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        assert self.code in (0, 3, 4), self.err
        return json.loads(self.out)


@pytest.fixture
def topokit(monkeypatch, tmp_path, capfd):
    """Call as topokit("build", "--radices", "2,2"); the working directory is a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["topokit", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capfd.readouterr()
        return Run(exit_.value.code, captured.out, captured.err)

    return run

"""Running the command line inside the test's process."""

import json
import signal
import sys
from dataclasses import dataclass

import pytest
from topokit_cli.main import main


class Printed(str):
    """What a command printed: a text that the command itself holds is not expected in it, as it may be repeated."""

    __slots__ = ("command",)

    def __new__(cls, text, command):
        printed = super().__new__(cls, text)
        printed.command = command
        return printed

    def __contains__(self, text):
        found = super().__contains__(text)
        assert not (found and any(text in word for word in self.command)), f"{text!r} is in the command: expect more"
        return found


@dataclass
class Run:
    """What a command left behind."""

    code: int
    out: Printed
    err: Printed

    @property
    def json(self):
        assert self.code in (0, 3, 4), self.err
        return json.loads(self.out)


@pytest.fixture
def topokit(monkeypatch, tmp_path, capfd):
    """Call as topokit("build", "--radices", "2,2"); the working directory is a fresh folder."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*args):
        command = ["topokit", *map(str, args)]
        monkeypatch.setattr(sys, "argv", command)
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        captured = capfd.readouterr()
        return Run(exit_.value.code, Printed(captured.out, command), Printed(captured.err, command))

    return run

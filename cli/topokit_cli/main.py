"""The `topokit` command: finds the subcommand, and turns errors into one line and an exit code.

Exit codes: 0 done and every required check holds; 1 error; 2 usage; 3 a required check fails;
4 a required check is undecided or not promised; 130 interrupted (Ctrl-C); 143 terminated (SIGTERM).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from importlib import import_module
from types import FrameType

import click

from topokit import __version__
from topokit.errors import TopokitError, needing
from topokit_cli.paths import typed

COMMANDS = {
    "build": "Build a topology and save it.",
    "verify": "Verify the properties that a topology promises.",
    "info": "Show a topology's structure and measures.",
    "compare": "Compare topologies with each other and with random networks.",
    "fit": "Propose RadiX-Nets for given widths and density.",
    "draw": "Draw a topology as PNG, SVG or PDF.",
    "convert": "Convert a topology to another file format.",
    "mask": "Write a topology as masks, or apply it to a model.",
    "extract": "Extract a topology from a model's weights.",
    "train": "Train a network on a topology.",
    "prune": "Train and prune a network; save its topologies.",
    "evaluate": "Test a trained network.",
    "sweep": "Train all networks of a grid file.",
    "study": "Run the experiments of a study and write its report.",
    "challenge": "Run the inference of the Sparse DNN Graph Challenge.",
}
"""Subcommand -> its line in the help. Each is in the module of its name, which is imported when it is called."""


SPINNING = {"OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"}
"""Environment variables that determine how idle threads of OpenMP wait."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, after which a command ends as after Ctrl-C."""


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            advice = f"options come after the command, as in topokit build {error.option_name}"
            raise click.UsageError(f"{error.message} {advice}", ctx) from None

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"topokit_cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from topokit._native import description  # loads the library

        click.echo(f"topokit, version {__version__} ({description()})")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and exit."
)
@click.pass_context
def topokit(ctx: click.Context) -> None:
    """Build, verify, draw and train sparse neural-network topologies.

    \b
    topokit build --radices 2,2,2 --kron 10,10     # a RadiX-Net, 8-80-80-8
    topokit verify radix-net-*.safetensors         # proofs of its properties
    topokit draw radix-net-*.safetensors -o net.svg
    topokit train                                  # a sparse LeNet-300-100 on embedded digits

    Commands that read a topology accept a file or a description: one quoted argument with the options of `build`,
    written as key=value.

    \b
    topokit verify 'graph-challenge neurons=1024 layers=12'
    topokit train --topology 'radix-net radices=10,10 kron=8,3,1 crop=784,300,100'
    """  # noqa: D301 (click wants the control character)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def main() -> None:
    """Run the command line; the installed `topokit` calls this."""
    if sys.stdout is None:
        sys.exit(_say("stdout is closed: give it a file, such as > /dev/null", 1))
    _prepare()
    try:
        with needing("this command"):
            code = topokit.main(prog_name="topokit", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        code = _say(error.format_message(), error.exit_code, getattr(error, "ctx", None))
    except TopokitError as error:
        code = error.exit_code if error.quiet else _say(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        terminated = isinstance(error.__cause__ or error, Terminated)  # click's Abort has a cause
        code = _say("terminated", 143) if terminated else _say("interrupted", 130)
    except MemoryError:
        code = _say("out of memory: use smaller widths, or stream the topology from its options", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of stdout has ended
        code = 1
    except OSError as error:
        code = _say(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # all work is finished, so no signal may change the exit code
    sys.exit(code or 0)


def _prepare() -> None:
    gc.set_threshold(10_000)  # a model of many small layers makes many objects that live to the end
    if not SPINNING & os.environ.keys():
        # Set before torch and GraphBLAS are loaded. Threads that wait in a loop delay those that work: on a busy
        # machine, a run with two threads would take 15 times as long.
        os.environ["OMP_WAIT_POLICY"] = "passive"
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored, as in the background of a script
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    """Raise an exception that ends the command, unless it is ending: the removal of incomplete files must finish."""
    torch = getattr(sys.modules.get("torch"), "__spec__", None)
    if getattr(torch, "_initializing", False):  # an exception in its C++ initialisers would abort the process: wait
        again = threading.Timer(0.05, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    error = sys.exc_info()[1]
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    if error is None:
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _say(message: str, code: int, ctx: click.Context | None = None) -> int:
    where = ctx.command_path if ctx else "topokit"
    hint = f" (see {where} --help)" if ctx and code == 2 else ""
    print(f"{where}: {typed(' '.join(message.split()))}{hint}", file=sys.stderr)
    return code

"""--quiet prints results and errors only, -v also names files; both are options of every command."""

import pytest


def test_quiet_silences_remarks_and_progress(topokit):
    wanted = ("fit", "--widths", "6,6", "--density", "0.55", "--tolerance", "0")
    assert "note: " in topokit(*wanted).err
    quiet = topokit(*wanted, "--quiet")
    assert quiet.err == ""
    assert quiet.out == topokit(*wanted).out
    assert topokit("train", "--epochs", "1", "--run", "loud").err
    assert topokit("train", "--epochs", "1", "--run", "still", "-q").err == ""


def test_errors_are_printed_all_the_same(topokit):
    assert topokit("verify", "nothing", "-q").err.startswith("topokit")


def test_options_before_the_command_are_refused_with_advice(topokit):
    run = topokit("-v", "build")
    assert run.code == 2
    assert "as in topokit build -v" in run.err


@pytest.mark.parametrize(("flags", "said"), [(("-q", "-v"), True), (("-v", "-q"), False)])
def test_the_last_of_quiet_and_verbose_counts(topokit, flags, said):
    assert bool(topokit("build", "--radices", "2,2", *flags).err) is said


@pytest.mark.parametrize("flags", [(), ("-v",)])
def test_verbose_names_files(topokit, flags):
    run = topokit("build", "--radices", "2,2", "-o", "net.npz", *flags)
    assert ("debug: writing net.npz as npz" in run.err) == bool(flags)

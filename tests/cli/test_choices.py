"""The choices that commands offer are those that the library takes."""

import pytest
from topokit_cli.main import topokit

from topokit.checks import CHECKS, METHODS
from topokit.drawing import STYLES
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.formats import FORMATS
from topokit.measures import MEASURES
from topokit_train.studies import STUDIES


@pytest.mark.parametrize(
    ("command", "option", "taken"),
    [
        ("build", "family", FAMILIES),
        ("build", "random_equivalent", RANDOM_EQUIVALENTS),
        ("compare", "kind", RANDOM_EQUIVALENTS),
        ("convert", "to", FORMATS),
        ("draw", "style", STYLES),
        ("info", "names", MEASURES),
        ("study", "name", STUDIES),
        ("verify", "method", METHODS),
        ("verify", "names", CHECKS),
        ("verify", "require", CHECKS),
    ],
)
def test_a_command_offers_what_the_library_takes(command, option, taken):
    (found,) = (one for one in topokit.get_command(None, command).params if one.name == option)
    assert list(found.type.choices) == list(taken)

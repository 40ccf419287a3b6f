"""`topokit draw`: pictures of degrees, and what is refused."""

import pytest

NET = "bernoulli widths=12,5,3 density=.5 seed=1"


@pytest.mark.parametrize(
    "options",
    [("--style", "pixels", "--image", "3x4"), ("--style", "pixels", "--image", "2x2x3"), ("--style", "degrees")],
)
def test_degrees_are_drawn(topokit, tmp_path, options):
    done = topokit("draw", NET, *options, "-o", "net.png", "--json")
    assert (done.code, done.json["figure"], done.json["widths"]) == (0, "net.png", [12, 5, 3])
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    assert topokit("draw", NET, *options, "-o", "net.png").code == 1  # it is there already


def test_square_images_need_no_words(topokit):
    assert topokit("draw", "radix-net radices=2,2", "--style", "pixels", "-o", "net.svg").code == 0

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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--style", "pixels"), "12 inputs are not a square image: give --image, such as 2x2x3"),
        (("--style", "pixels", "--image", "5x5"), "image 5x5 has 25 pixels, but there are 12 inputs: 2x2x3 fits"),
        (("--style", "pixels", "--image", "12"), "'12' is not ROWSxCOLUMNS or ROWSxCOLUMNSxCHANNELS, such as 28x28"),
        (("--style", "pixels", "--image", "3x4x1x1"), "such as 28x28"),
        (("--style", "pixels", "--image", "0x12"), "image must be at least 1, not 0"),
        (("--image", "3x4"), "image is for the style pixels, not for edges"),
        (("--style", "degrees", "--trace", "1"), "take the style edges"),
        (("--style", "degrees", "--steps"), "--steps and --style cannot go together"),
        (("--kron-steps", "--image", "3x4"), "--kron-steps and --image cannot go together"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(topokit, tmp_path, options, said):
    run = topokit("draw", NET, *options, "-o", "net.png")
    assert (run.code, run.out, len(run.err.splitlines())) == (2, "", 1), run.err
    assert said in run.err
    assert not list(tmp_path.glob("net.png*"))

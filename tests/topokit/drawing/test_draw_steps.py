"""How RadiX-Nets are made: the shifts shown make up the layers, and W* is the Kronecker product."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from topokit.drawing import draw_kron_steps, draw_steps
from topokit.errors import InvalidSpecError
from topokit.families.bernoulli import Bernoulli
from topokit.families.radix_net import RadixNet
from topokit.topologies import Topology
from topokit.transforms import crop, reverse


def shifts_in(axes, nodes, at=0):
    """Shift's name -> its edges, of the lines that start from node column `at`."""
    shifts = {}
    for lines in axes.collections:
        if isinstance(lines, LineCollection):
            for start, end in lines.get_segments():
                if round(start[0]) == at:
                    edge = tuple(round((1 - y) * nodes - 0.5) for y in (start[1], end[1]))
                    shifts.setdefault(lines.get_label(), set()).add(edge)
    return shifts


def expected_shifts(nodes, place, direction, count):
    return {f"k = {k}": {(u, (u + direction * k * place) % nodes) for u in range(nodes)} for k in range(count)}


def place_of(axes):
    """From left to right, and in a column from the top down."""
    box = axes.get_position()
    return round(box.x0, 6), -box.y0


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("radices", [(3, 2), (2, 2, 2), (2, 3, 5), (7, 2), (32,)])
def test_each_panel_adds_a_shift_and_the_last_one_is_the_layer(radices, direction):
    net = RadixNet(radices=[radices], direction=direction)
    nodes, place = net.nodes, 1
    *panels, whole = draw_steps(net).axes
    panels.sort(key=place_of)
    for i, radix in enumerate(radices):
        shown = list(range(1, radix + 1)) if radix <= 5 else [1, 2, 3, radix]
        for count in shown:
            assert shifts_in(panels.pop(0), nodes) == expected_shifts(nodes, place, direction, count)
        everything = shifts_in(whole, nodes, at=i)
        assert everything == expected_shifts(nodes, place, direction, radix)
        union = set().union(*everything.values())
        assert union == set(map(tuple, np.argwhere(net.layer(i).to_dense()).tolist()))
        place *= radix
    assert not panels


def test_formulas_stand_above_their_shifts():
    panels = sorted(draw_steps(RadixNet(radices=[(3, 2)], direction=-1)).axes[:-1], key=place_of)
    assert [panel.get_title() for panel in panels] == [
        "k = 0: (u − 0·1) mod 6",
        "k = 1: (u − 1·1) mod 6",
        "k = 2: (u − 2·1) mod 6",
        "k = 0: (u − 0·3) mod 6",
        "k = 1: (u − 1·3) mod 6",
    ]
    for panel in panels:
        newest = [lines for lines in panel.collections if isinstance(lines, LineCollection)][-1]
        assert newest.get_label() == panel.get_title().partition(":")[0]
        assert tuple(newest.get_colors()[0]) == pytest.approx((*hex_colour(panel.title.get_color()), 1))
    assert (
        sorted(draw_steps(RadixNet(radices=[(8, 2)])).axes[:-1], key=place_of)[3].get_title()
        == "k = 3 … 7: (u + k·1) mod 16"
    )


@pytest.mark.parametrize("radices", [(2,), (8,), (2, 2)])
def test_few_joined_layers_are_as_wide_as_the_picture(radices):
    figure = draw_steps(RadixNet(radices=[radices]))
    figure.draw_without_rendering()
    assert 0.95 < figure.axes[-1].bbox.width / figure.bbox.width < 1


def hex_colour(colour):
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_the_recipe_is_followed_back_to_the_radix_net():
    net = RadixNet(radices=[(2, 2), (4,)], kron=(1, 2, 1, 3))
    figure = draw_steps(reverse(crop(net, (4, 7, 4, 12))).build())
    said = [text.get_text() for text in figure.texts]
    assert said[0] == "radix-net radices=2,2 radices=4 kron=1,2,1,3: shift by shift"
    assert "Shown is the first of 2 systems; the others are made in the same way." in said
    assert "The Kronecker widths then multiply the nodes (not shown)." in said
    assert "Not shown, transforms that follow: crop, reverse." in said
    assert len(figure.axes) == 2 + 2 + 1
    assert len(draw_steps(RadixNet(radices=[(2, 2)])).texts) == 3


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Topology.from_dense([np.eye(3)]), "recipe starts from none"),
        (Bernoulli(widths=(3, 3), density=0.5, seed=0), "recipe starts from none"),
        (crop(Bernoulli(widths=(3, 3), density=0.5, seed=0), (2, 2)), "recipe starts from none"),
        (
            Topology.from_dense([np.eye(3)], recipe={"family": "radix-net", "options": {"radices": "3"}}),
            "radices must be one or more lists",
        ),
        (
            Topology.from_dense([np.eye(3)], recipe={"transform": "crop", "options": {"of": [[]]}}),
            "a recipe must be a JSON object, not list",
        ),
    ],
)
def test_other_networks_have_no_such_steps(net, said):
    for steps in (draw_steps, draw_kron_steps):
        with pytest.raises(InvalidSpecError, match=said):
            steps(net)


def test_what_was_extracted_has_no_such_steps_either():
    about = {"extraction": "weights", "options": {"file": "model.pt", "sha256": "0" * 64}}
    for recipe in (about, {"transform": "crop", "options": {"of": about, "widths": [3, 3]}}):
        with pytest.raises(InvalidSpecError, match="take a network that was built from radices"):
            draw_steps(Topology.from_dense([np.eye(3)], recipe=recipe))


def test_too_many_nodes_are_refused():
    assert draw_steps(RadixNet(radices=[(4, 8)])).axes
    with pytest.raises(InvalidSpecError, match="at most 32"):
        draw_steps(RadixNet(radices=[(3, 11)]))


@pytest.mark.parametrize("kron", [(1, 2, 3), (3, 1, 2), None])
def test_the_product_is_the_kronecker_product_of_its_factors(kron):
    net = RadixNet(radices=[(2, 3)], kron=kron)
    panels = draw_kron_steps(net).axes
    assert [text.get_text() for panel in panels for text in panel.texts] == ["", "⊗", "="] * 2
    matrices = list(map(matrix_of, panels))
    shares = [panel.get_title().rpartition(": ")[2] for panel in panels]
    b = kron or (1, 1, 1)
    for i, (ones, base, product) in enumerate(zip(*(iter(matrices),) * 3, strict=True)):
        np.testing.assert_array_equal(ones, np.ones((b[i], b[i + 1])))
        np.testing.assert_array_equal(base, sum(np.roll(np.eye(6), k * (1, 2)[i], axis=1) for k in range((2, 3)[i])))
        np.testing.assert_array_equal(product, np.kron(ones, base))
        assert shares[3 * i : 3 * i + 3] == ["100 %", *[("33.3 %", "50 %")[i]] * 2]


def test_the_factor_of_diagonals_joins_some_copies_only():
    net = RadixNet(radices=[(2, 2)], kron=(2, 4, 6), diagonals=(1, 2))
    figure = draw_kron_steps(net)
    for i, (factor, base, product) in enumerate(zip(*(iter(figure.axes),) * 3, strict=True)):
        a, b = net.kron[i : i + 2]
        joined = [[(u - v) % (2, 1)[i] == 0 for v in range(b)] for u in range(a)]
        np.testing.assert_array_equal(matrix_of(factor), joined)
        np.testing.assert_array_equal(np.kron(joined, matrix_of(base)) > 0, net.layer(i).to_dense())
        assert (matrix_of(product) > 0).tolist() == net.layer(i).to_dense().tolist()
        assert factor.get_title() == f"F, layer {i}: {(50, 100)[i]} %"
    said = [text.get_text() for text in figure.texts]
    assert "copies a and b if a = b modulo 2, 1, layer by layer." in said
    assert "W* has the density of F times that of W." in said
    full = draw_kron_steps(RadixNet(radices=[(2, 2)], kron=(2, 4, 2), diagonals=(2, 2)))
    assert "W* has the density of W." in [text.get_text() for text in full.texts]


def matrix_of(panel):
    """The cells of a panel's image, which shows each of them as a block of equal numbers."""
    image = panel.images[0].get_array().filled(0)
    shape = round(panel.get_ylim()[0] + 0.5), round(panel.get_xlim()[1] + 0.5)
    blocks = image.reshape(shape[0], image.shape[0] // shape[0], shape[1], image.shape[1] // shape[1])
    assert (blocks == blocks[:, :1, :, :1]).all()
    return blocks[:, 0, :, 0]


def test_kron_steps_show_the_first_six_layers_and_part_the_copies():
    figure = draw_kron_steps(RadixNet(radices=[(2, 2)] * 4, kron=(2,) * 9))
    panels = figure.axes
    assert len(panels) == 3 * 6
    assert figure.texts[-1].get_text() == "The first 6 of 8 edge layers are shown."
    at = {line.get_xdata()[0] for line in panels[2].lines if line.get_color() == "#d55e00"}
    assert 3.5 in at

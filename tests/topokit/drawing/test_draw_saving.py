"""Figures as files, and what holds for all pictures: texts that fit, settings restored, matplotlib loaded late."""

import os
import subprocess
import sys
from itertools import combinations
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from scipy.sparse import csr_array

from topokit.drawing import _METADATA, draw, draw_kron_steps, draw_steps, save_figure
from topokit.drawing._pattern import panel_size
from topokit.errors import InvalidSpecError, MissingDependencyError, OutputExistsError, TopokitError
from topokit.families.bernoulli import Bernoulli
from topokit.families.radix_net import RadixNet
from topokit.families.regular import Regular
from topokit.topologies import Topology
from topokit.transforms import crop, permute

EIGHTS = RadixNet(radices=[(2, 2, 2)])
WIDENED = RadixNet(radices=[(2, 2, 2)], kron=(10, 10))
SUFFIXES = [".PNG", ".svg", ".pdf"]
STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_networks_give_equal_files_and_others_do_not(tmp_path, suffix):
    nets = [EIGHTS, EIGHTS.build(), RadixNet(radices=[(2, 2, 2)], direction=-1)]
    for name, net in enumerate(nets):
        save_figure(draw(net, beside=WIDENED, trace=1), tmp_path / f"{name}{suffix}")
    one, same, other = ((tmp_path / f"{name}{suffix}").read_bytes() for name in range(3))
    assert one == same != other
    assert one.startswith(STARTS[suffix.lower()])


def test_files_are_equal_from_one_process_to_the_next(tmp_path):
    code = (
        "import sys; from topokit.drawing import *; from topokit.families.radix_net import RadixNet\n"
        "net = RadixNet(radices=[(2, 3)], kron=(2, 1, 70))\n"
        "figure = draw(net, style='pattern', beside=net)\n"
        "for name in sys.argv[1:]: save_figure(figure, name)"
    )
    names = [str(tmp_path / f"there{suffix}") for suffix in _METADATA]
    subprocess.run([sys.executable, "-c", code, *names], check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    net = RadixNet(radices=[(2, 3)], kron=(2, 1, 70))
    figure = draw(net, style="pattern", beside=net)
    for suffix in _METADATA:
        save_figure(figure, tmp_path / f"here{suffix}")
        assert (tmp_path / f"here{suffix}").read_bytes() == (tmp_path / f"there{suffix}").read_bytes()


def test_an_svg_is_sound_whatever_the_recipe_holds_and_its_text_stays_text(tmp_path):
    save_figure(draw(Topology.from_dense([np.eye(2)], recipe=HOSTILE), beside=EIGHTS), tmp_path / "net.svg")
    assert ElementTree.parse(tmp_path / "net.svg").getroot().tag.endswith("svg")
    assert ">radix-net radices=2,2,2<" in (tmp_path / "net.svg").read_text()


@pytest.mark.parametrize("name", ["net.jpg", "net", "net.svgz", ".svg"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(InvalidSpecError, match=r"\.png, \.svg, \.pdf"):
        save_figure(draw(EIGHTS), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_by_force(tmp_path):
    path = tmp_path / "net.svg"
    path.write_text("mine")
    with pytest.raises(OutputExistsError):
        save_figure(draw(EIGHTS), path)
    assert path.read_text() == "mine"
    save_figure(draw(EIGHTS), path, force=True)
    assert path.read_bytes().startswith(STARTS[".svg"])


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    figure = draw(EIGHTS)

    def break_off(file, **_):
        file.write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", break_off)
    (tmp_path / "old.svg").write_text("mine")
    for name, force in (("new.svg", False), ("old.svg", True)):
        with pytest.raises(TopokitError, match="No space left"):
            save_figure(figure, tmp_path / name, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["old.svg"]
    assert (tmp_path / "old.svg").read_text() == "mine"


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draws in (draw, draw_steps, draw_kron_steps):
        with pytest.raises(MissingDependencyError, match=r"pip install 'topokit\[plot\]'"):
            draws(EIGHTS)


def test_matplotlib_is_loaded_late_and_pyplot_never():
    code = (
        "import sys, topokit.drawing as pictures; assert 'matplotlib' not in sys.modules\n"
        "from topokit.families.radix_net import RadixNet\n"
        "pictures.draw(RadixNet(radices=[(2, 2)])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_users_settings_are_back_afterwards(tmp_path):
    with matplotlib.rc_context({"font.size": 21, "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        save_figure(draw(EIGHTS), tmp_path / "net.svg")
        assert dict(matplotlib.rcParams) == before


def test_notebooks_show_a_figure_by_itself():
    assert draw(EIGHTS)._repr_png_().startswith(STARTS[".png"])


PICTURES = {
    "edges": lambda: draw(EIGHTS, beside=Bernoulli.equivalent_to(EIGHTS, seed=0), trace=3),
    "rows": lambda: draw(WIDENED, rows=True, trace=3),
    "one": lambda: draw(Topology.from_dense([np.ones((1, 1))])),
    "wide-rows": lambda: draw(Topology.from_scipy([csr_array((100_000, 1)), csr_array((1, 100_000))]), rows=True),
    "wide": lambda: draw(crop(RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100)), style="edges"),
    "deep": lambda: draw(RadixNet(radices=[(2, 2, 2)] * 10), trace=0),
    "pattern": lambda: draw(WIDENED, style="pattern", beside=EIGHTS),
    "binned": lambda: draw(crop(RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100))),
    "many": lambda: draw(RadixNet(radices=[(2,) * 6] * 3, kron=(16,) * 19)),
    "widths": lambda: draw(Topology.from_dense([np.ones((1, 5000)), np.ones((5000, 1)), np.ones((1, 1))])),
    "steps": lambda: draw_steps(RadixNet(radices=[(3, 2), (6,)], kron=(1, 2, 3, 4))),
    "one-step": lambda: draw_steps(RadixNet(radices=[(32,)])),
    "kron": lambda: draw_kron_steps(RadixNet(radices=[(2, 2)], kron=(1, 2, 3))),
    "kron-diagonals": lambda: draw_kron_steps(RadixNet(radices=[(2, 2)], kron=(2, 4, 2), diagonals=(1, 2))),
    "kron-wide": lambda: draw_kron_steps(RadixNet(radices=[(10, 10)], kron=(8, 3, 100))),
    "pixels": lambda: draw(Bernoulli(widths=(784, 9), density=".1", seed=0), style="pixels", beside=WIDENED_INPUTS),
    "one-pixel": lambda: draw(Topology.from_dense([np.zeros((1, 1))]), style="pixels"),
    "channels": lambda: draw(Bernoulli(widths=(360, 9), density=".1", seed=0), style="pixels", image=(4, 15, 6)),
    "flat": lambda: draw(Bernoulli(widths=(1000, 9), density=".1", seed=0), style="pixels", image=(1, 1000)),
    "degrees": lambda: draw(Bernoulli(widths=(700, 30, 2, 1), density=".1", seed=0), style="degrees", beside=EIGHTS),
    "empty-degrees": lambda: draw(Topology.from_dense([np.zeros((3, 1)), np.ones((1, 2))]), style="degrees"),
    "many-degrees": lambda: draw(RadixNet(radices=[(2,) * 6] * 3, kron=(16,) * 19), style="degrees"),
    "sixty": lambda: draw(SIXTY[0], beside=SIXTY[1:], style="pattern"),
    "long": lambda: draw(LONG),
    "hostile": lambda: draw(Topology.from_dense([np.eye(2)], recipe=HOSTILE)),
}
LONG = permute(EIGHTS, permutations=[range(8)[::-1]] * 4)
SIXTY = [
    Topology.from_scipy([csr_array(shape)], names=[f"{'onnx::Conv_' * (i % 9)}{i}"])
    for i, shape in enumerate([(1, 3), (100_000, 1), (1, 123_456), (7, 7), (40_000, 40_000)] * 12)
]
WIDENED_INPUTS = RadixNet(radices=[(4, 4)], kron=(4, 1, 1))
HOSTILE = {
    "transform": "$\\frac{",
    "options": {"of": {"family": "\x00\n\ud800" + "W" * 500, "options": {"radices": {"kron": [[]]}, "kron": 3}}},
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_are_inside_the_sheet_and_do_not_overlap(name):
    figure = PICTURES[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = {text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()}
    boxes = {
        text: Text.get_window_extent(text) for text in texts - {*undrawn(figure)}
    }  # of the words, without an arrow
    assert boxes
    for text, box in boxes.items():
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, text.get_text()
    for (one, box), (two, other) in combinations(boxes.items(), 2):
        assert not box.overlaps(other), (one.get_text(), two.get_text())


def test_panels_have_their_size_whatever_is_around_them():
    figure = PICTURES["sixty"]()
    FigureCanvasAgg(figure)
    panels = [axes for axes in figure.axes if axes.images and axes.get_xlabel()]
    assert len(panels) == len(SIXTY)
    for axes, net in zip(panels, SIXTY, strict=True):
        size = axes.get_position().width * figure.get_figwidth(), axes.get_position().height * figure.get_figheight()
        assert np.allclose(size, panel_size(net.widths))


def undrawn(figure):
    """The words that are not drawn: those of axes that are off, and of ticks outside the limits."""
    for axes in figure.axes:
        if not axes.axison:
            yield from {*axes.findobj(Text)} - {*axes.texts, axes.title}
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)


def test_a_title_is_the_description_and_the_line_below_it_the_summary():
    unknown = {"family": "mine", "options": {}}
    expected = {
        "radix-net radices=2,2,2 kron=1,10,10,1": WIDENED,
        "bernoulli widths=8,8,8,8 density=1/4,1/4,1/4 seed=7": Bernoulli.equivalent_to(EIGHTS, seed=7),
        "radix-net radices=2,2,2 crop=3,8,8,2": crop(EIGHTS, (3, 8, 8, 2)),
        "Network": Topology.from_dense([np.eye(2)], recipe=unknown),
    }
    for title, net in expected.items():
        first, second, *_ = (text.get_text() for text in draw(net).texts)
        assert (first, second) == (title, net.summary())
    named = Topology(Topology.from_dense([np.eye(2)]).layers, names=["fc.weight"])
    twin = Regular.equivalent_to(named, seed=4)
    assert draw(named, beside=twin).texts[2].get_text() == "fc.weight random-equivalent=regular seed=4"
    assert draw(Topology.from_dense([np.eye(2)])).texts[0].get_text() == "Network"
    assert "".join(text.get_text() for text in draw(LONG).texts).startswith("permute of='radix-net radices=2,2,2'")

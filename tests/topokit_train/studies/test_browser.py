"""The report in a browser without a network: every figure has a size, and nothing is asked of anybody."""

import pytest


@pytest.mark.parametrize("width", [1280, 500])
def test_every_figure_is_drawn_and_no_request_goes_out(report, browse, width):
    page = report / "report.html"
    found, asked = browse(page, width)
    assert len(found["sizes"]) == page.read_text().count("<figure>") > 20
    assert all(200 < across <= width and up > 150 for across, up in found["sizes"])
    assert (found["fetched"], asked) == ([], set())
    assert found["width"] <= found["window"], "the page is wider than the window"
    assert found["spills"] == []


def test_a_request_would_be_seen(report, browse, tmp_path):
    address = "http://host.invalid/picture.png"
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text((report / "report.html").read_text().replace("<main>", f'<main><img src="{address}">'))
    found, asked = browse(spoilt, 1280)
    assert (found["fetched"], asked) == ([address], {address})

"""`topokit challenge`: what it prints, and its exit codes."""

import pytest

RADIX = ("radix-net radices=2,2 kron=16,16,16", "--bias", "-0.3")


@pytest.fixture
def files(tmp_path):
    """Three images, of which the second one is empty, and right and wrong categories."""
    pixels = [f"{image}\t{pixel}\t1\n" for image in (1, 3) for pixel in range(1, 65)]
    (tmp_path / "images.tsv").write_text("".join(pixels))
    (tmp_path / "right.tsv").write_text("1\n3\n")
    (tmp_path / "wrong.tsv").write_text("1\n2\n")
    (tmp_path / "other.tsv").write_text("1\n4\n")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("engine", ["graphblas", "fast"])
def test_categories_are_compared(topokit, engine):
    run = ("challenge", *RADIX, "--images", "images.tsv", "--engine", engine, "--json")
    about = topokit(*run).json
    assert about["categories_match"] is about["categories_missing"] is about["categories_extra"] is None
    assert (about["engine"], about["rows"], about["categories"], about["survivors"]) == (engine, 3, [1, 3], 2)
    assert about["edges_per_second"] == pytest.approx(3 * about["edges"] / about["seconds"])
    right = topokit(*run, "--categories", "right.tsv")
    assert (right.code, right.json["categories_match"]) == (0, True)
    assert right.json["categories_missing"] == right.json["categories_extra"] == {"count": 0, "first": []}
    wrong = topokit(*run, "--categories", "wrong.tsv")
    assert (wrong.code, wrong.json["categories_match"]) == (3, False)
    assert wrong.json["categories_missing"] == {"count": 1, "first": [2]}
    assert wrong.json["categories_extra"] == {"count": 1, "first": [3]}
    assert "rows are numbered from 1 to 3" in topokit(*run, "--categories", "other.tsv").err


def test_the_official_network(topokit, golden_dir):
    folder = golden_dir / "graphchallenge"
    files = ("--images", folder / "images-1024-subset.mtx", "--categories", folder / "categories-1024-l120-subset.mtx")
    net = "graph-challenge neurons=1024 layers=120"
    about = topokit("challenge", net, *files, "--engine", "fast", "--json").json
    assert about["categories_match"] is True
    assert about["survivors"] == len(about["categories"]) == 19
    categories = folder / "categories-1024-l120-all.tsv"
    refused = topokit("challenge", net, *files[:2], "--categories", categories)
    assert refused.code == 1
    assert "rows are numbered from 1 to 1200" in refused.err


@pytest.mark.usefixtures("files")
def test_weights_that_are_not_used_are_noted(topokit, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "n64-l1.tsv").write_text("".join(f"{i}\t{i}\t0.5\n" for i in range(1, 65)))
    ran = topokit("challenge", "net", "--images", "images.tsv", "--bias", "-0.01")
    assert (ran.code, "note: weights other than 1/16 are not kept" in ran.err) == (0, True)


@pytest.mark.usefixtures("files")
def test_a_table_for_people(topokit):
    shown = topokit("challenge", *RADIX, "--images", "images.tsv").out
    assert "categories        1 3\n" in shown
    assert "categories match  not compared: give --categories\n" in shown
    shown = topokit("challenge", *RADIX, "--images", "images.tsv", "--categories", "wrong.tsv").out
    assert "categories match  no: 1 missing (2), 1 extra (3)\n" in shown


@pytest.mark.parametrize("images", [25, 6000])
def test_many_survivors_are_not_all_printed(topokit, tmp_path, images):
    lines = [f"{image}\t{pixel}\t1\n" for image in range(1, images + 1) for pixel in range(1, 65)]
    (tmp_path / "images.tsv").write_text("".join(lines))
    (tmp_path / "all.tsv").write_text("".join(f"{image}\n" for image in range(1, images + 1)))
    run = ("challenge", *RADIX, "--images", "images.tsv", "--categories", "all.tsv")
    shown = dict(line.split("  ", 1) for line in topokit(*run).out.splitlines())
    shown = {name: value.strip() for name, value in shown.items()}
    first = " ".join(map(str, range(1, 21)))
    assert shown["categories"] == f"{first} and {images - 20:,} more, which --json names up to 5,000"
    assert shown["categories match"] == "yes"
    assert shown["rows"] == shown["survivors"] == f"{images:,}"
    (tmp_path / "few.tsv").write_text("1\n2\n")
    shown = topokit(*run[:-1], "few.tsv").out
    assert f"categories match  no: 0 missing, {images - 2:,} extra (3 4 5 6 7 ...)\n" in shown
    named = topokit(*run, "--json").json["categories"]
    assert (named is None) == (images > 5000)

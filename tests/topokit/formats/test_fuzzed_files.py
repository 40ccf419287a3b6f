"""2,000 damaged files for each reader: each is refused in one line, or read as a valid topology.

Nothing else may happen: no crash, no hang, no other exception, no warning, no large allocation.
"""

import io
import random
import re
import zipfile

import pytest
import scipy.sparse

from topokit import edges
from topokit.errors import TopokitError
from topokit.families.radix_net import RadixNet
from topokit.formats import FORMATS, load, save, save_masks
from topokit.masking import masks

FILES = 2000
NET = RadixNet(radices=[(2, 2)], kron=(1, 2, 1))
NUMBERS = [
    b"0",
    b"-1",
    b"1",
    b"2",
    b"7",
    b"1.5",
    b"nan",
    b"1e400",
    b"4294967295",
    b"4294967296",
    b"9" * 19,
    b"9" * 5000,
]
TOKENS = [b"\0", b"\n", b"\r", b"\t", b" ", b'"', b"\\ud800", b"\xff\xfe", b"\xe9", b"{", b"[" * 3000, b"}", b"null"]
TOKENS += [b"true", b"|O", b"<f2", b"U8", b"%", b"real", b"symmetric", b"<!DOCTYPE a>", b"<node/>", b"&lt;", b"PK\3\4"]


def flip(content, draw):
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def cut(content, draw):
    return content[: draw.randrange(len(content))]


def insert(content, draw):
    place = draw.randrange(len(content))
    return content[:place] + draw.choice(TOKENS) + content[place:]


def drop(content, draw):
    place = draw.randrange(len(content))
    return content[:place] + content[place + draw.randint(1, 9) :]


def repeat(content, draw):
    start, place = draw.randrange(len(content)), draw.randrange(len(content))
    return content[:place] + content[start : start + 40] + content[place:]


def renumber(content, draw):
    numbers = list(re.finditer(rb"\d+", content))
    if not numbers:
        return content
    old = draw.choice(numbers)
    new = draw.choice([*NUMBERS, draw.choice(numbers)[0]])
    return content[: old.start()] + new + content[old.end() :]


def damaged(content, draw):
    for _ in range(draw.randint(1, 3)):
        content = draw.choice([flip, cut, insert, drop, repeat, renumber, renumber])(content, draw) or b"\n"
    return content


def damaged_safetensors(content, draw):
    """Damaged anywhere, or in a header whose length is right again."""
    if draw.random() < 0.3:
        return damaged(content, draw)
    end = 8 + int.from_bytes(content[:8], "little")
    header = damaged(content[8:end], draw)
    return len(header).to_bytes(8, "little") + header + content[end:]


def damaged_npz(content, draw):
    """Damaged anywhere, or in one array of an archive whose checksums are right again."""
    if draw.random() < 0.3:
        return damaged(content, draw)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    victim = draw.choice(sorted(members))
    members[victim] = damaged(members[victim], draw)
    with zipfile.ZipFile(made := io.BytesIO(), "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return made.getvalue()


def single(name):
    def make(folder):
        save(NET, folder / "net", to=name)
        return folder / "net", folder / "net"

    return make


def folder_of(name, victim):
    def make(folder):
        save(NET, folder / "net", to=name)
        return folder / "net", folder / "net" / victim

    return make


def mask_file(folder):
    save_masks(masks(NET, ["fc1.weight", "fc2.weight"]), folder / "net")
    return folder / "net", folder / "net"


def scipy_file(kind):
    def make(folder):
        matrix = scipy.sparse.csr_array(NET.layer(0).to_dense().astype(float)).asformat(kind)
        with (folder / "net").open("wb") as file:
            scipy.sparse.save_npz(file, matrix)
        return folder / "net", folder / "net"

    return make


def weighted_mtx(folder):
    (folder / "net").write_text(
        "%%MatrixMarket matrix coordinate real general\n% a\n2 3 3\n1 1 1.5\n1 3 -2e-3\n2 2 0\n"
    )
    return folder / "net", folder / "net"


CASES = {
    "safetensors": (single("safetensors"), damaged_safetensors),
    "masks": (mask_file, damaged_safetensors),
    "npz": (single("npz"), damaged_npz),
    "npz-coo": (scipy_file("coo"), damaged_npz),
    "npz-csc": (scipy_file("csc"), damaged_npz),
    "matrix-market": (folder_of("matrix-market", "layer-2.mtx"), damaged),
    "matrix-market-real": (weighted_mtx, damaged),
    "tsv": (folder_of("tsv", "n4x8-l1.tsv"), damaged),
}
CASES |= {name: (single(name), damaged) for name in FORMATS if name not in CASES and not FORMATS[name].folder}


def test_every_format_has_a_case():
    assert {*FORMATS} <= {*CASES}


@pytest.mark.parametrize("case", CASES)
def test_damaged_files_are_refused_or_valid(case, tmp_path, free_memory):
    free_memory(1 << 24)  # so that a file which claims much is refused before anything is allocated
    make, damage = CASES[case]
    path, victim = make(tmp_path)
    content = victim.read_bytes()
    load(path)
    refused = 0
    for seed in range(FILES):
        victim.unlink()  # some file systems flush a file that is written over
        victim.write_bytes(damage(content, random.Random(seed)))
        try:
            net = load(path)
        except TopokitError as error:
            message = str(error)
            assert str(path) in message, (seed, message)
            assert len(message.splitlines()) == 1, (seed, message)
            assert len(message) < len(str(path)) * 3 + 600, (seed, message)
            refused += 1
        else:
            for layer in net.stream():
                edges.validate(layer.indptr, layer.indices, layer.shape)
    assert refused > FILES / 3

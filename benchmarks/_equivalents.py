"""Faults that change nothing that a caller can see, each with the reason: mutants.py does not draw them."""

EQUIVALENTS: dict[str, str] = {
    "topokit/families/lps.py: evens = range(-(limit // 2) * 2, limit + 1, 2) -> "
    "evens = range(-(limit // 2) * 2, limit + 1, (1))": (
        "p and w^2 are 1 modulo 4, so x^2 + y^2 + z^2 is 0 modulo 4, which no odd number is part of: squares are 0 or 1"
    ),
    "topokit_train/kernels/band.py: values = values.new_zeros(prod(self.shape)).scatter_(0, self.slots, values)  "
    "# twice as fast as index_copy_ -> values = values.new_zeros(prod(self.shape)).scatter_((-1), self.slots, values)  "
    "# twice as fast as index_copy_": "the tensor has one dimension: 0 and -1 are the same",
    "topokit/formats/_npz.py: npy.write_array(file, np.asarray(values), allow_pickle=False) -> "
    "npy.write_array(file, np.asarray(values), allow_pickle=True)": (
        "indptr, format, shape and widths are never objects, which alone are pickled"
    ),
    "topokit_train/datasets/published.py: @dataclass(frozen=True, kw_only=True) -> "
    "@dataclass(frozen=True, kw_only=False)": "all objects of the class are constructed by keyword",
    "topokit/allocation.py: low, high = 0.0, float(min(len(sizes) / wanted, Fraction(10**300))) -> "
    "low, high = 0.0, float(min(len(sizes) / wanted, Fraction(10**(301))))": (
        "with such a force all shares are in proportion to 1 / size, and they are scaled to the wanted total"
    ),
    "topokit_train/kernels/_bands.py: rest = torch.cat([weights[:, whole * tile :], weights[:, : radix - 1]], 1) -> "
    "rest = torch.cat([weights[:, whole * tile :], weights[:, : (radix + 1)]], 1)": (
        "_fed reads its first classes and the radix - 1 after them: what stands behind is not read"
    ),
}

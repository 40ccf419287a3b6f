"""Cost, by hand."""

from topokit import GraphChallenge, RadixNet, crop
from topokit.measures.cost import Cost, cost


def test_lenet_has_27930_parameters_with_the_dense_last_layer():
    net = crop(RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100))
    found = cost(net)
    assert found == Cost(
        weights=26520,
        biases=400,
        multiply_adds=26520,
        weight_bytes=106080,
        csr_bytes=26520 * 8 + (785 + 301) * 8,
        dense_bytes=(784 * 300 + 300 * 100) * 4,
    )
    assert found.weights + found.biases + 100 * 10 + 10 == 27930


def test_no_edge_is_read():
    found = cost(GraphChallenge(neurons=65536, layers=1920))
    assert found.multiply_adds == 4026531840

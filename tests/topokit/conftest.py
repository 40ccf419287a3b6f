"""A Dask cluster on this machine."""

import pytest


@pytest.fixture(scope="session")
def cluster():
    """Two worker processes and their scheduler."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster

import pytest
from host_kernels import RunKernel, build_kernels


@pytest.fixture(scope="session")
def run_kernel(tmp_path_factory: pytest.TempPathFactory) -> RunKernel:
    return build_kernels(tmp_path_factory.mktemp("host"))

"""Choice of the package that makes the CUDA calls: cuda-python, or pycuda if only that is installed."""

from importlib.util import find_spec

from lstn.errors import MissingExtra
from lstn.runtime.engines.cuda.cuda_seam import Cuda


def open_cuda(*, extra: str) -> Cuda:
    """Return the calls as cuda-python makes them, or pycuda where only that is installed.

    Raises:
        MissingExtra: neither is, with the extra that brings cuda-python.
        DeviceError: the driver refuses.
    """
    from lstn.runtime.engines.cuda.cuda_python import CudaPython
    from lstn.runtime.engines.cuda.pycuda_calls import PyCuda

    try:
        return CudaPython(extra=extra)
    except MissingExtra:
        if find_spec("pycuda") is None:
            raise
    return PyCuda()

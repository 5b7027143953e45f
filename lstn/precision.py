"""The precisions that a model can be lowered to, and who runs them."""

from enum import Enum


class Precision(str, Enum):
    """The type that weights and activations are lowered to; whatever the precision, theta and the grid are float32."""

    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"

    @property
    def quantized(self) -> bool:
        """Whether values are scaled into the type's range, so that ranges must be measured on images first."""
        return self in (Precision.INT8, Precision.FP8)


class RangeMethod(str, Enum):
    """Which range of a tensor's values the 8 bits of a quantized type span.

    minmax: all of them; entropy: the range that loses least information (Kullback-Leibler divergence); percentile:
    all but the outermost 0.001 %.
    """

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"

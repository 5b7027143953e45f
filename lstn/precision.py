"""The precisions that a model can be lowered to, and who runs them."""

from enum import Enum


class Precision(str, Enum):
    """The type that weights and activations are lowered to; whatever the precision, theta and the grid are float32.

    Of two, as in int8-fp16, layers read the first, and the second is between them, where the others have float32.
    """

    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"
    INT8_FP16 = "int8-fp16"
    FP8_FP16 = "fp8-fp16"

    @property
    def quantized(self) -> bool:
        """Whether values are scaled into the type's range, so that ranges must be measured on images first."""
        return self not in (Precision.FP16, Precision.BF16)

    @property
    def float8(self) -> bool:
        """Whether layers read fp8."""
        return self in (Precision.FP8, Precision.FP8_FP16)

    @property
    def half_between(self) -> bool:
        """Whether float16 is between the layers that read 8 bits, in the place of float32."""
        return self in (Precision.INT8_FP16, Precision.FP8_FP16)


class RangeMethod(str, Enum):
    """Which range of a tensor's values the 8 bits of a quantized type span.

    minmax: all of them; entropy: the range that loses least information (Kullback-Leibler divergence); percentile:
    all but the outermost 0.001 %.
    """

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"

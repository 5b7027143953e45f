"""Error of a transformer's crops against the true poses, as runs and reports say it."""

from typing import TypedDict

from lstn.untrusted.checked_json import Count, Magnitude, Share


class PoseError(TypedDict):
    """How far crops are from the true poses, on so many images whose pose is known.

    rotation_deg: median residual rotation: how far the object is turned in the crop, without the slant that its class
                  has in the other crops (most transformers turn a class alike, and need not turn it upright); None
                  where no class has two images
    centre_px:    median distance of the crop's centre from the object's, in pixels of the input
    centre_share: the same as a share of the object's side
    overlap:      mean of crop and object quadrilaterals' intersection over their union, 0..1
    """

    images: Count
    rotation_deg: Magnitude | None
    centre_px: Magnitude
    centre_share: Magnitude
    overlap: Share


def brief_pose(found: PoseError) -> str:
    """Return it in a few words: `turned by 4.1°, 1.2 px (5.3 % of the object's side) off centre, overlap 0.81`."""
    turned = "" if found["rotation_deg"] is None else f"turned by {found['rotation_deg']:.1f}°, "
    return (
        f"{turned}{found['centre_px']:.1f} px ({found['centre_share']:.1%} of the object's side) off centre, "
        f"overlap {found['overlap']:.2f}"
    )

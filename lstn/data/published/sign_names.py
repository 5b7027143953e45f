"""Names of GTSRB's 43 traffic signs, in the order of its class numbers."""

SIGN_NAMES = (
    "speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70", "speed limit 80",
    "end of speed limit 80", "speed limit 100", "speed limit 120", "no passing", "no passing for trucks",
    "right of way at next intersection", "priority road", "yield", "stop", "no vehicles", "no trucks", "no entry",
    "danger", "curve left", "curve right", "double curve", "bumpy road", "slippery road", "road narrows on the right",
    "road work", "traffic signals", "pedestrians", "children crossing", "bicycles crossing", "snow or ice",
    "wild animals crossing", "end of all limits", "turn right ahead", "turn left ahead", "ahead only",
    "ahead or right", "ahead or left", "keep right", "keep left", "roundabout", "end of no passing",
    "end of no passing for trucks",
)  # fmt: skip
"""Stallkamp, Schlipsing, Salmen and Igel (2012) number the classes; their files have no names. The order is that of the
folders 00 to 42."""

"""The parts of a face that label maps tell apart. Who only reads label maps needs no torch, so they stand here."""

CLASSES = (
    "background",
    "face",
    "hair",
    "left_brow",
    "right_brow",
    "left_eye",
    "right_eye",
    "nose",
    "upper_lip",
    "teeth",
    "lower_lip",
)
"""Class names by id; left and right are the person's own."""

MIRRORED = (0, 1, 2, 4, 3, 6, 5, 7, 8, 9, 10)
"""Each class's id in the mirrored picture."""

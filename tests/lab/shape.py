"""Shapes of pods, of `launcher.testing`: what one CNI sets up, and what a VM in that pod must get."""

from launcher.testing.shape import (
    OUTSIDE,
    OUTSIDE6,
    GuestNetwork,
    GuestNetwork6,
    Nic,
    Route,
    Shape,
    Side,
    load_shape,
    shape_names,
)

__all__ = [
    "OUTSIDE",
    "OUTSIDE6",
    "GuestNetwork",
    "GuestNetwork6",
    "Nic",
    "Route",
    "Shape",
    "Side",
    "load_shape",
    "shape_names",
]

"""The names of the streets of a synthetic town."""

from __future__ import annotations

_TREES = (
    "Alder Ash Aspen Beech Birch Cedar Cherry Chestnut Cypress Elder Elm Fir Hawthorn Hazel Holly Juniper Larch Laurel "
    "Linden Maple Oak Pine Poplar Rowan Willow"
)
_PEOPLE = (
    "Babbage Bohr Bose Cantor Curie Darwin Euler Faraday Fermat Galilei Gauss Germain Hertz Hopper Kepler Kirchhoff "
    "Lovelace Maxwell Meitner Newton Noether Pascal Planck Turing Volta"
)
STREETS = tuple(f"{name} Street" for name in _TREES.split())
"""From south to north."""
AVENUES = tuple(f"{name} Avenue" for name in _PEOPLE.split())
"""From west to east."""

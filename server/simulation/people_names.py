"""The names of simulated people."""

from __future__ import annotations

from random import Random

_GIVEN = (
    "Ada Aiko Amina Anders Anouk Aylin Ben Carlos Chiara Chloe Dara Deniz Elif Emil Esra Fatima Felix Finn Greta "
    "Hana Hugo Ines Ivan Jana Jonas Kemal Kofi Lara Lia Lena Linh Luca Mariam Marta Mateo Maya Mehmet Mila Nadia "
    "Nora Olga Omar Paul Priya Rafael Rosa Samir Sofia Tariq Theo Thu Tomas Vera Viktor Wanda Yara Yusuf Zoe"
)
_FAMILY = (
    "Abbas Almeida Andersen Bauer Becker Bianchi Boateng Cohen Costa Demir Diallo Dubois Eriksen Fischer Garcia Haddad "
    "Hansen Horvat Ibrahim Jansen Kaya Keller Khan Kim Kovac Kowalski Larsen Lindner Lopez Marin Meyer Moreau Nakamura "
    "Nguyen Novak Okafor Olsen Park Peters Petrov Popescu Rao Richter Romano Rossi Santos Schmidt Silva Singh Sommer "
    "Stein Tanaka Vogel Wagner Weber Wong Yilmaz Zeman Ziegler Zimmermann"
)


def person_name(role: str, number: int) -> str:
    """Return a name, always the same for the same role and number."""
    rng = Random(f"{role} {number}")
    return f"{rng.choice(_GIVEN.split())} {rng.choice(_FAMILY.split())}"

"""What collides: one file per process. Every `Process` that a file in this folder makes is known.

A process says what Pythia is told, which of its events are worth finishing, what truth is kept, and
which jets are signal. Nothing here imports Pythia, or numpy at the top: planning needs neither.
"""

import hashlib
import importlib
import math
import pkgutil
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from physics import BEAM_ENERGY

SIGNAL, BACKGROUND, VARIATION = ROLES = ("signal", "background", "variation")
STOP_SEARCH, Z_GAMMA, PARTICLE_JETS = SELECTIONS = ("stop search", "Z gamma", "particle jets")
PARAMETERS_MAX = 2
STATED = ("m_stop", "m_neutralino")  # parameters whose values are settings of a study
NONE = -1  # a parameter of a process without any; the index of one with parameters
# The first processes have these numbers; those of all others follow from their names.
_FIRST = ("ttbar", "stop", "half_scale", "double_scale", "power_shower")


def every(hard_process: Any) -> bool:
    """Any event is worth finishing."""
    return True


@dataclass(frozen=True)
class JetSelection:
    """Which jets of stable particles are kept: the hardest one of an event, if inside this window.

    Attributes:
        radius: of anti-kT.
        pt: GeV, between these.
        coordinate: `rapidity` or `eta`.
        at_most: its largest absolute value.
        public: names of files, of public samples, whose jets take the place of these.
    """

    radius: float
    pt: tuple[float, float]
    coordinate: str
    at_most: float
    public: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Process:
    """One process.

    A file of a process is numbered by the values of its parameters, `stop_900_300`, or by an
    index where it has none, `ttbar_0`.

    Attributes:
        name: in file names and in the attribute `process` of files.
        role: of `ROLES`; a variation's events are held out, to measure what its modelling changes.
        settings: parameters -> lines for `Pythia.readString`, beams aside; None where another
            generator makes the events, see collisions/hepmc.py.
        truth: PDG ids of the particles whose last copies are kept, and how many daughters of each.
        varies: the process of which this is a variation; its files have that process's name.
        variation: in which it does; slices share it, and it is in the name of their folder.
        parameters: names of up to two whole numbers.
        values: of each parameter, those that are simulated; a study states its own of `STATED`.
        spectrum: parameters -> an SLHA file's text, None if Pythia needs none.
        wanted: of Pythia's hard process with its resonance decays, whether to go on; where decays
            are forced, by how many of the lines in `forced` it may have come about.
        cut: what `wanted` is called in the cut flow.
        forced: lines for Pythia of which the chunks take one in turn, so that no try is wasted on
            an unwanted decay. Together they make every wanted event; weights say how often.
        resonances: the PDG ids whose decays these lines force.
        activity: GeV, the least and the first too large `collisions.generate.activity` of a
            slice. Slices that cover all numbers are together the inclusive process.
        veto_below: the least score of an event worth finishing, when its shower has come down to
            `collisions.generate.VETO_SCALE`.
        veto_score: that score, of Pythia's event at this scale and its hard process; if not that of
            top pairs, `collisions.generate.veto_score`.
        selection: of `SELECTIONS`, that its events go through; it says what their files hold.
            setup.py takes all but those of Z gamma, which have no jets.
        jets: those that are kept, where the selection is that of jets of particles.
        matches: PDG ids among `truth`; a jet of signal is one within `physics.MATCHING_RADIUS` of
            such a particle. Of jets of particles, which all match: the first of each of the equal
            parts of `truth`, one of which lies within the jet's radius as a whole.
        cross_section: parameters -> pb. Where there is none, or it raises a ValueError, Pythia's
            own normalises the weights of events.
        for_training: keep the jets of every event that Pythia finishes, without selection; no such
            event is ever held out.
        energy: GeV, of both protons together.
        tries: events begun in a chunk of the simulation, some ten seconds' worth.
        title: in figures, LaTeX.
    """

    name: str
    role: str
    settings: Callable[..., tuple[str, ...]] | None
    truth: tuple[tuple[int, int], ...] = ()
    varies: str = ""
    variation: str = ""
    parameters: tuple[str, ...] = ()
    values: tuple[Sequence[int], ...] = ()
    spectrum: Callable[..., str] | None = None
    wanted: Callable[[Any], int] = every
    cut: str = "wanted"
    forced: tuple[str, ...] = ()
    resonances: tuple[int, ...] = ()
    activity: tuple[float, float] | None = None
    veto_below: float = -math.inf
    veto_score: Callable[[Any, Any], float] | None = None
    selection: str = STOP_SEARCH
    jets: JetSelection | None = None
    matches: tuple[int, ...] = ()
    cross_section: Callable[..., float] | None = None
    for_training: bool = False
    energy: float = BEAM_ENERGY
    tries: int = 1_000
    title: str = ""

    def __post_init__(self) -> None:
        kept = {pdg_id for pdg_id, _ in self.truth}
        stated = len(self.values) == len(self.parameters)
        varied = self.role == VARIATION
        has_jets = self.selection == STOP_SEARCH
        for good, rule in (
            (re.fullmatch(r"[A-Za-z]\w*(?<!_\d)", self.name), "is a word that ends in no number"),
            (self.role in ROLES, f"has one of the roles {', '.join(ROLES)}"),
            (varied == bool(self.varies), "names what it varies if a variation"),
            (varied == bool(self.variation), "names its variation if it has that role"),
            (len(self.parameters) <= PARAMETERS_MAX, f"has up to {PARAMETERS_MAX} parameters"),
            (set(self.parameters) <= {*STATED} or stated, "states the values of its parameters"),
            (set(self.matches) <= kept, "keeps the truth that its jets are matched to"),
            (self.selection in SELECTIONS, f"has one of the selections {', '.join(SELECTIONS)}"),
            (
                (self.selection == PARTICLE_JETS) == (self.jets is not None),
                f"states its jets if the selection is {PARTICLE_JETS}",
            ),
            (
                self.matches or self.role != SIGNAL or not has_jets,
                "says what jets of signal match",
            ),
        ):
            if not good:
                raise ValueError(f"process {self.name!r}: expected one that {rule}")

    @property
    def number(self) -> int:
        """By which the split and the table of events know the process; it must never change.

        >>> PROCESSES["ttbar"].number, PROCESSES["stop"].number
        (0, 1)
        """
        if self.name in _FIRST:
            return _FIRST.index(self.name)
        return number_of(self.name)

    @property
    def mixture(self) -> str:
        """What its events add up with: all backgrounds, all parts of a variation, or its own only.

        >>> PROCESSES["ttbar_soft"].mixture, PROCESSES["half_scale_soft"].mixture
        ('background', 'half_scale')
        """
        return BACKGROUND if self.role == BACKGROUND else self.variation or self.name

    def sample_name(self, *numbers: int) -> str:
        """The name of one file, without its suffix.

        >>> PROCESSES["ttbar"].sample_name(0), PROCESSES["stop"].sample_name(900, 300)
        ('ttbar_0', 'stop_900_300')
        """
        return "_".join(map(str, (self.varies or self.name, *numbers)))

    def identity(self, *numbers: int) -> tuple[int, int, int]:
        """Both parameters and the index of one file, -1 for what it has not.

        >>> PROCESSES["ttbar"].identity(0), PROCESSES["stop"].identity(900, 300)
        ((-1, -1, 0), (900, 300, -1))
        """
        if not self.parameters:
            return NONE, NONE, *numbers
        return *numbers, *(NONE,) * (PARAMETERS_MAX - len(numbers)), NONE

    def pythia_settings(self, *parameters: int) -> tuple[str, ...]:
        """All lines for `Pythia.readString` that make the physics."""
        return f"Beams:eCM = {self.energy}", *self.settings(*parameters)


def number_of(name: str) -> int:
    """31 bits of a name, the same for ever."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) >> 1


def of_role(*roles: str) -> dict[str, Process]:
    """The processes of some roles.

    >>> "stop" in of_role(SIGNAL), "ttbar" in of_role(SIGNAL)
    (True, False)
    """
    return {name: process for name, process in PROCESSES.items() if process.role in roles}


def variations_of(names: Container[str]) -> dict[str, list[Process]]:
    """Variation -> its parts that vary one of these processes: slices add up, as of the nominal.

    >>> [part.name for part in variations_of(["ttbar_soft", "ttbar_hard", "stop"])["half_scale"]]
    ['half_scale_soft', 'half_scale_hard']
    """
    found: dict[str, list[Process]] = {}
    for process in of_role(VARIATION).values():
        if process.varies in names:
            found.setdefault(process.variation, []).append(process)
    return found


def numbered(number: int) -> Process:
    """The process of this number; KeyError if there is none."""
    return {process.number: process for process in PROCESSES.values()}[number]


def parsed(name: str) -> tuple[str, tuple[int, ...]] | None:
    """The process (known or not) and the numbers that a file's name states, None if it is no such.

    >>> parsed("stop_900_300"), parsed("zprime_1"), parsed("notes"), parsed("ttbar_01")
    (('stop', (900, 300)), ('zprime', (1,)), None, None)
    """
    found = re.fullmatch(r"([A-Za-z]\w*?)((?:_(?:0|[1-9]\d*))+)", name)
    return found and (found[1], tuple(map(int, found[2].split("_")[1:])))


def unregistered(name: str) -> str:
    """What to do about a process that is not known."""
    known = ", ".join(of_role(SIGNAL, BACKGROUND))
    return f"process {name!r} is not registered (known: {known}); state it in a file of processes/"


def discovered() -> dict[str, Process]:
    """Every process that a file of this folder makes, by its name, in the order of the files."""
    found: dict[str, Process] = {}
    for module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        for process in vars(importlib.import_module(f"{__name__}.{module}")).values():
            if isinstance(process, Process) and found.setdefault(process.name, process) != process:
                raise ValueError(f"two processes are called {process.name!r}; rename one")
    numbers = [process.number for process in found.values()]
    for process in found.values():
        if numbers.count(process.number) > 1:
            raise ValueError(f"process {process.name!r} has the number of another; rename it")
        if process.varies and process.varies not in found:
            raise ValueError(f"process {process.name!r} varies {process.varies!r}, which is none")
    return found


PROCESSES: dict[str, Process] = discovered()

"""What arXiv:2406.03096 and the CMS search behind it fix: jets, selection, luminosity, yields.

Constants are marked [paper] where they are those of arXiv:2406.03096 (with the CMS search
SUS-19-004, arXiv:2102.06976, whose preselection it follows) and [ours] where the paper is silent.
Imports nothing from this project. Energies, momenta and masses are in GeV throughout, c = 1.
"""

from dataclasses import dataclass

# --- Jets ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JetDefinition:
    """Anti-kT jets of one radius and the square image each is drawn on."""

    name: str
    radius: float
    pixels: int


JET_DEFINITIONS = {
    "AK08": JetDefinition("AK08", 0.8, 64),  # [paper]
    "AK10": JetDefinition("AK10", 1.0, 64),  # [paper]
    "AK14": JetDefinition("AK14", 1.4, 128),  # [paper]
}
# Of which there are images: those of events, and jets that are an event of their own.
IMAGED_JETS = JET_DEFINITIONS | {"AK04": JetDefinition("AK04", 0.4, 32)}  # [ours]
JETS_PER_EVENT = 3  # [paper] the three hardest large-R jets of an event
PIXEL_WIDTH = 0.035  # [paper] in eta and phi; read off the published average image
CHANNELS = ("EhT", "EmT", "TrackPT")  # [paper] hadronic, electromagnetic calorimeter, tracks
LARGE_R_PT_MIN = 100.0  # [ours]
LARGE_R_ETA_MAX = 2.5  # [ours]
OBJECT_MASSES = (0.13957, 0.0, 0.0, 0.000511, 0.10566)  # [ours] as of pions, and 0 if neutral
MATCHING_RADIUS = 0.5  # [paper] a signal jet is this close to a true neutralino
MISSING_DELTA_R = 99.0  # [ours] of a jet that does not exist; never 0, which would match
MISSING_SCORE = -1.0  # [paper] of a jet that does not exist or has no pixel

# --- Event selection: CMS SUS-19-004 ------------------------------------------------------------

LEPTON_PT_MIN = 30.0  # [paper] exactly one isolated electron or muon, no second one
LEPTON_ETA_MAX = 2.4  # [paper]
JET_RADIUS = 0.4  # [paper]
JET_PT_MIN = 30.0  # [paper]
JET_ETA_MAX = 2.4  # [paper]
JETS_MIN = 7  # [paper] the full selection; it alone enters event-level results
JETS_MIN_LOOSE = 5  # [ours] events with 5 or 6 jets are kept to train the jet networks
B_TAGS_MIN = 1  # [paper]
HT_MIN = 300.0  # [paper] scalar sum of the selected jets' pT
LEPTON_B_MASS = (50.0, 250.0)  # [paper] of the b jet whose mass with the lepton is nearest ...
LEPTON_B_MASS_TARGET = 105.0  # [paper] ... to this
MJ_JET_DEFINITION = "AK14"  # [ours] MJ is the sum of the masses of all jets of this definition
FOX_WOLFRAM_ORDERS = (1, 2, 3, 4, 5)  # [paper] H_l / H_0 of the selected R = 0.4 jets

# --- Normalisation ------------------------------------------------------------------------------

BEAM_ENERGY = 13_000.0  # [paper] centre of mass
LUMINOSITY = 137.0  # [paper] fb^-1
EXPECTED_BACKGROUND = 273_085.0  # [paper] events after the preselection
BACKGROUND_UNCERTAINTY = 0.06  # [paper] relative

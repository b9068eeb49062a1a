"""Collisions against closed forms, symmetries, conservation laws and brute force."""

import dataclasses
import itertools

import numpy as np
import pytest

from processes import PROCESSES, Process, every, variations_of
from processes.stop import NEUTRALINO, STOP, STOP_JETS, cross_section
from processes.ttbar import TTBAR, TTBAR_HARD, TTBAR_SOFT

pytest.importorskip("pythia8mc", reason="no wheel of pythia8mc for this system")
pytest.importorskip("fastjet", reason="no wheel of fastjet for this system")

from collisions import detector
from collisions.chunk import make_chunk
from collisions.clustering import anti_kt
from collisions.detector import Objects, respond
from collisions.generate import generate
from collisions.observables import fox_wolfram
from collisions.particles import Particles, Record, truth, visible
from collisions.selection import (
    b_tag_efficiency,
    energy_scale,
    isolated_leptons,
    lepton_b_mass,
    select,
)
from jets.ragged import delta_phi, offsets_of, pairs


@pytest.fixture(scope="module")
def signal():
    batch = generate(STOP, (900, 300), 120, seed=11)
    return STOP, batch, Record.of(batch.particles)


def particles(event, pdg_id, charge, pt, eta, phi):
    """Massless particles of hand-made events."""
    event, pdg_id, charge = (np.asarray(x) for x in (event, pdg_id, charge))
    pt, eta, phi = (np.asarray(x, float) for x in (pt, eta, phi))
    energy = pt * np.cosh(eta)
    massless = np.zeros(len(pt))
    return Particles(event, pdg_id, charge, pt, eta, phi, energy, massless, int(event.max()) + 1)


def objects(event, pt, eta, phi, kind=2, identified=False):
    """Energy-flow objects of hand-made events."""
    event = np.asarray(event)
    pt, eta, phi = (np.asarray(x, float) for x in (pt, eta, phi))
    kind = np.broadcast_to(np.asarray(kind, np.uint8), event.shape)
    charge = np.where(kind == 2, 0, -1).astype(np.int8)
    identified = np.broadcast_to(identified, event.shape)
    return Objects(event, pt, eta, phi, charge, kind, identified, int(event.max()) + 1)


def with_settings(process, *lines, **changes):
    """A process with more lines for Pythia."""
    return dataclasses.replace(
        process, settings=lambda *numbers: (*process.settings(*numbers), *lines), **changes
    )


# --- Processes ---


def test_net_baryon_number_is_0_2_or_4(signal):
    _, _, record = signal
    size = np.abs(record.pdg_id)
    baryon = (size > 1000) & (size < 1_000_000) & (size // 10 % 10 > 0) & (record.status > 0)
    numbers = np.bincount(record.event, np.where(baryon, np.sign(record.pdg_id), 0))
    assert set(numbers) <= {0, 2, 4}
    assert len(set(numbers)) == 3  # two Majorana decays: 1 : 2 : 1


def test_energy_and_momentum_are_conserved(signal):
    _, batch, record = signal
    final = record.status > 0
    for column, total in ((record.px, 0), (record.py, 0), (record.pz, 0), (record.energy, 13_000)):
        sums = np.bincount(record.event[final], weights=column[final])
        np.testing.assert_allclose(sums, total, atol=0.5)
    assert len(sums) == len(batch.particles)


def test_cross_sections_have_a_plausible_and_smooth_k_factor():
    factors, hard = [], with_settings(STOP, "PartonLevel:all = off", wanted=every)
    for mass in (700, 900, 1050, 1200):
        value, error = generate(hard, (mass, 100), 1_500, seed=mass).cross_section
        assert error < 0.03 * value
        factors.append(cross_section(mass) / value)
    assert all(1.2 < factor < 2.2 for factor in factors)
    assert np.abs(np.diff(factors)).max() < 0.15


def test_every_event_has_a_leptonic_w_and_its_truth(signal):
    process, _, record = signal
    table = truth(record, process.truth)
    identity = table["pdg_id"]
    assert (identity[:, [0, 1, 2, 5]] == [6, -6, 24, -24]).all()
    assert (identity[:, [8, 12]] == 1_000_022).all()
    leptons = np.isin(np.abs(identity[:, [3, 4, 6, 7]]), (11, 13, 15)).sum(axis=1)
    assert set(leptons) <= {1, 2}
    quarks = np.sort(np.abs(identity[:, [9, 10, 11, 13, 14, 15]]).reshape(-1, 2, 3), axis=2)
    assert (quarks == [1, 2, 3]).all()
    for mother, daughters in ((2, (3, 4)), (8, (9, 10, 11)), (12, (13, 14, 15))):
        parts = [four_vector(table[:, slot]) for slot in daughters]
        total = np.sum(parts, axis=0)
        np.testing.assert_allclose(total, four_vector(table[:, mother]), rtol=2e-3, atol=0.5)


def four_vector(p):
    pt, eta, phi, mass = (p[name].astype(float) for name in ("pt", "eta", "phi", "mass"))
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    return np.concatenate([momentum, np.sqrt((momentum**2).sum(axis=0) + mass**2)[None]])


def test_the_branching_fractions_are_open():
    # 1 - (hadronic fraction of the W)^2, with Pythia's leptonic fraction of 0.3257.
    batch = generate(dataclasses.replace(TTBAR, veto_below=1e9), (), 3_000, seed=5)
    expected = 1 - (1 - 0.3257) ** 2
    tried, wanted, finished = batch.cut_flow.values()
    sigma = np.sqrt(expected * (1 - expected) / tried)
    assert abs(wanted / tried - expected) < 4 * sigma
    assert tried == 3_000
    assert finished == 0  # the veto stops what it is told to stop


def test_slices_add_up_to_the_inclusive_process():
    """Forced decays waste no try; with their weights nothing is lost and nothing counts twice."""
    leptonic = 1 - (1 - 0.3242) ** 2  # the share of Pythia's events with a leptonic W
    inclusive = generate(TTBAR, (), 1_500, 3)
    inside, variance, tries = 0.0, 0.0, 1_500
    for process in (TTBAR_SOFT, TTBAR_HARD):
        hopeless = dataclasses.replace(process, veto_below=1e9)
        for turn in range(2):
            batch = generate(hopeless, (), tries, seed=40 + turn, turn=turn)
            begun, wanted, of_slice, _ = batch.weighted_cut_flow.values()
            assert batch.cut_flow["begun"] == batch.cut_flow[process.cut] == begun == tries
            assert wanted / tries == pytest.approx(leptonic, abs=0.015)
            found, error = batch.cross_section
            expected, of_expected = inclusive.cross_section
            assert abs(found - expected) < 4 * np.hypot(error, of_expected)
            inside += of_slice / tries / 2
            share = of_slice / wanted
            variance += share * (1 - share) / tries / 4
    assert abs(inside - leptonic) < 4 * np.sqrt(variance)
    assert abs(share - 0.0486) < 4 * np.sqrt(0.0486 / tries)  # of the hard slice


def test_slices_of_another_shower_add_up_too():
    """A power shower is hard more often; what its soft slice has not is in the other."""
    found = []
    for process in variations_of(["ttbar_soft", "ttbar_hard"])["power_shower"]:
        batch = generate(dataclasses.replace(process, veto_below=1e9), (), 600, seed=40)
        _, wanted, of_slice, _ = batch.weighted_cut_flow.values()
        found.append(of_slice / wanted)
    sigma = np.sqrt(found[1] * (1 - found[1]) / 600)
    assert abs(sum(found) - 1) < 4 * np.sqrt(2) * sigma
    assert found[1] - 0.0486 > 4 * sigma


def test_forced_decays_are_weighted_as_often_as_they_are_made():
    batches = [generate(TTBAR_HARD, (), 3_000, seed=8, veto=False, turn=turn) for turn in range(2)]
    for batch, charge in zip(batches, (1, -1), strict=True):
        table = truth(Record.of(batch.particles), TTBAR_HARD.truth)
        is_lepton = np.isin(np.abs(table["pdg_id"]), (11, 13, 15))
        number = is_lepton.sum(axis=1)
        np.testing.assert_allclose(batch.weight, 2 * 0.32422 / number, rtol=1e-4)
        forced = is_lepton[:, [3, 4]] if charge > 0 else is_lepton[:, [6, 7]]
        assert forced.any(axis=1).all()
        assert set(number) == {1, 2}


def test_jets_for_training_need_no_selection():
    made = make_chunk(STOP_JETS, (700, 100), 40, seed=3)
    selected = make_chunk(STOP, (700, 100), 40, seed=3)
    begun, wanted, finished, kept = made.cut_flow.values()
    assert begun == 40 > wanted == finished == kept == len(made.columns["lepton"])
    assert 0 < len(selected.columns["lepton"]) < kept
    assert not made.columns["lepton"]["pt"].any()
    # The same events of Pythia, seen by a detector with other random numbers.
    _, here, there = np.intersect1d(
        selected.columns["pt_hat"], made.columns["pt_hat"], return_indices=True
    )
    assert len(here) == len(selected.columns["lepton"])
    hardest = [chunk.columns["AK14"]["pt"][:, 0] for chunk in (selected, made)]
    ratio = hardest[0][here] / hardest[1][there]
    assert np.median(np.abs(ratio - 1)) < 0.1


def test_a_chunk_depends_on_its_seed_alone():
    first, again = (make_chunk(STOP, (700, 100), 40, seed=3) for _ in range(2))
    other = make_chunk(STOP, (700, 100), 40, seed=4)
    for name, column in first.columns.items():
        np.testing.assert_array_equal(column, again.columns[name])
    assert first.cut_flow == again.cut_flow
    assert len(other.columns["objects"]) != len(first.columns["objects"])


@pytest.mark.parametrize("matches", [(), (6,), (NEUTRALINO,), (6, -6, NEUTRALINO)])
def test_jets_are_matched_to_what_the_process_says(matches):
    process = dataclasses.replace(STOP, role="background", matches=matches)
    columns = make_chunk(process, (700, 100), 40, seed=3).columns
    jets, particles = columns["AK14"], columns["truth"]
    slots = [slot for slot in (0, 1, 8, 12) if particles["pdg_id"][0, slot] in matches]
    distances = np.full((*jets.shape, 2 + len(slots)), 99.0)
    for i, slot in enumerate(slots):
        parton = particles[:, slot, None]
        distance = np.hypot(jets["eta"] - parton["eta"], delta_phi(jets["phi"], parton["phi"]))
        distances[..., i] = np.where(jets["pt"] > 0, distance, 99)
    expected, found = np.sort(distances)[..., :2], np.sort(jets["delta_r"])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found < 0.5).any() == bool(matches)


def test_a_process_may_keep_no_truth():
    process = dataclasses.replace(STOP, role="background", truth=(), matches=())
    columns = make_chunk(process, (700, 100), 40, seed=3).columns
    assert columns["truth"].shape == (len(columns["lepton"]), 0)
    assert len(columns["lepton"]) and (columns["AK10"]["delta_r"] == 99).all()


def test_a_seed_that_pythia_would_ignore_is_refused():
    with pytest.raises(ValueError, match="seed 900000001"):
        generate(TTBAR, (), 1, seed=900_000_001)


def test_a_wrong_setting_is_not_passed_over():
    with pytest.raises(RuntimeError, match="Top:nonsense"):
        generate(with_settings(TTBAR, "Top:nonsense = on"), (), 1, seed=1)


def test_each_shower_is_another_one():
    """Coupling and power showers do what they say; a setting that is the default does nothing."""
    at_partons = ("HadronLevel:all = off", "PartonLevel:MPI = off")

    def partons(process: Process, *more: str) -> tuple[np.ndarray, np.ndarray]:
        """Final partons of each event, and the sum of the pT of those above 30 GeV."""
        batch = generate(with_settings(process, *at_partons, *more), (), 2_000, 7, veto=False)
        record = Record.of(batch.particles)
        final = record.rows(record.status > 0)
        ht = final.pt * (final.pt > 30)
        return tuple(np.bincount(final.event, weight) for weight in (np.ones(len(ht)), ht))

    def above(of_one: np.ndarray, of_other: np.ndarray) -> float:
        """Difference of the means in standard errors."""
        variance = sum(values.var(ddof=1) / len(values) for values in (of_one, of_other))
        return (of_one.mean() - of_other.mean()) / np.sqrt(variance)

    number, ht = partons(TTBAR)
    showers = {name: partons(PROCESSES[name]) for name in variations_of(["ttbar"])}
    assert (
        above(showers["half_scale"][0], number) > 5 > -5 > above(showers["double_scale"][0], number)
    )
    assert above(showers["power_shower"][1], ht) > 5
    # The default is damped for top pairs already, which other processes are told to be by a 1.
    same = partons(TTBAR, "SpaceShower:pTdampMatch = 1")
    assert np.array_equal(same[0], number) and np.array_equal(same[1], ht)


# --- Detector ---


def test_everything_turns_with_the_event(signal):
    """Rotating an event by multiples of 10 degrees before the detector rotates all that follows."""
    _, _, record = signal
    before = visible(record)
    # Particles on a tower's edge may fall to either side once rounded.
    degrees = np.degrees(before.phi)
    keep = np.abs(degrees - np.rint(degrees)) > 1e-9 * 180 / np.pi
    for edges in (detector.ECAL_EDGES, detector.HCAL_EDGES):
        keep &= np.abs(np.abs(before.eta)[:, None] - edges).min(axis=1) > 1e-9
    columns = {k: v[keep] for k, v in vars(before).items() if k != "n_events"}
    before = Particles(**columns, n_events=before.n_events)
    turn = np.radians(70)
    phi = np.arctan2(np.sin(before.phi + turn), np.cos(before.phi + turn))
    after = Particles(**(vars(before) | {"phi": phi}))

    none = particles([before.n_events - 1], [511], [5], [0.0], [9.0], [0.0])
    results = []
    for case in (before, after):
        generator = np.random.default_rng(1)
        response = respond(case, generator)
        results.append((response, select(response, none, generator)))
    (one, chosen), (two, turned) = results
    order = [np.lexsort((np.round(r.eta, 9), r.type, r.event)) for r in (one, two)]
    for name in ("event", "pt", "eta", "charge", "type", "identified"):
        a, b = getattr(one, name)[order[0]], getattr(two, name)[order[1]]
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-9)
    np.testing.assert_allclose(
        delta_phi(two.phi[order[1]], one.phi[order[0]]), delta_phi(turn, 0), atol=1e-9
    )
    for cut, left in chosen.left.items():
        np.testing.assert_array_equal(turned.left[cut], left)
    np.testing.assert_allclose(turned.jets.pt, chosen.jets.pt, rtol=1e-9)
    np.testing.assert_array_equal(turned.tagged, chosen.tagged)
    assert len(chosen.jets.pt) > 100


def test_log_normal_response_has_the_mean_and_the_width_it_promises():
    draw = np.random.default_rng(0).standard_normal(400_000)
    for width in (0.02, 0.1, 0.5):
        factor = detector.log_normal(draw, np.full_like(draw, width))
        assert abs(factor.mean() - 1) < 4 * width / np.sqrt(len(draw))
        assert abs(factor.std() / width - 1) < 0.01


@pytest.mark.parametrize(
    ("pdg_id", "pt", "eta", "efficiency", "resolution"),
    [
        (211, 0.5, 0.3, 0.70, 0.01),
        (211, 10.0, 1.0, 0.95, np.hypot(0.015, 2.5e-3)),
        (-211, 10.0, 2.0, 0.85, np.hypot(0.025, 5.5e-3)),
        (11, 40.0, 1.0, 0.95, np.hypot(0.05, 0.068)),
        (13, 40.0, 2.0, 0.98, np.hypot(0.025, 0.014)),
        (22, 40.0, 0.0, 0.0, None),
        (211, 10.0, 2.6, 0.0, None),
    ],
)
def test_tracks_follow_the_card(pdg_id, pt, eta, efficiency, resolution):
    n = 40_000
    charge = 0 if pdg_id == 22 else 1
    many = particles(np.arange(n), [pdg_id] * n, [charge] * n, [pt] * n, [eta] * n, [0.1] * n)
    seen = respond(many, np.random.default_rng(2))
    tracks = seen.charge != 0
    share = tracks.sum() / n
    assert abs(share - efficiency) <= 4 * np.sqrt(efficiency * (1 - efficiency) / n)
    if resolution is not None:
        assert abs(seen.pt[tracks].std() / pt / resolution - 1) < 0.02


def test_a_neutral_particle_is_measured_in_its_tower():
    n = 20_000
    photons = particles(np.arange(n), [22] * n, [0] * n, [50.0] * n, [0.4] * n, [1.0] * n)
    seen = respond(photons, np.random.default_rng(3))
    energy = seen.pt * np.cosh(seen.eta)
    true = 50 * np.cosh(0.4)
    width = detector.tower_resolution(detector.ELECTROMAGNETIC, np.array([0.4]), np.array([true]))
    assert abs(energy.mean() - true) < 4 * width[0] / np.sqrt(n)
    assert abs(energy.std() / width[0] - 1) < 0.05
    assert (seen.type == detector.PHOTON).all()
    assert np.abs(seen.eta - 0.4).max() < 0.0175
    assert np.abs(delta_phi(seen.phi, 1.0)).max() < np.radians(1)


def test_a_charged_hadron_is_its_track_and_seldom_a_neutral_too():
    n = 20_000
    pions = particles(np.arange(n), [211] * n, [1] * n, [30.0] * n, [0.2] * n, [1.0] * n)
    seen = respond(pions, np.random.default_rng(4))
    tracked = np.bincount(seen.event[seen.charge != 0], minlength=n) > 0
    neutral = np.bincount(seen.event[seen.charge == 0], minlength=n) > 0
    # Two standard deviations of a log-normal response beyond the track.
    assert 0.01 < neutral[tracked].mean() < 0.06
    assert neutral[~tracked].mean() > 0.95  # without a track, the calorimeter alone sees it


def test_hadronic_threshold_of_two_standard_deviations_is_nine_gev():
    energy = np.linspace(1, 20, 20_000)
    width = detector.tower_resolution(detector.HADRONIC, np.zeros_like(energy), energy)
    assert abs(energy[np.argmax(energy > 2 * width)] - 9.09) < 0.01  # 9 / (1 - 0.01)


def test_towers_turn_by_ten_degrees():
    generator = np.random.default_rng(5)
    eta, phi = generator.uniform(-5, 5, 5_000), generator.uniform(-np.pi, np.pi, 5_000)
    for layer in (detector.ELECTROMAGNETIC, detector.HADRONIC):
        ring, column, size = detector.tower_of(layer, eta, phi)
        again, shifted, _ = detector.tower_of(layer, eta, phi + np.radians(10))
        np.testing.assert_array_equal(ring, again)
        np.testing.assert_array_equal((column + 10 // size) % (360 // size), shifted)
        mirrored, _, _ = detector.tower_of(layer, -eta, phi)
        np.testing.assert_array_equal(mirrored, -ring - 1)


# --- Jets ---


def brute_force_anti_kt(momenta, radius):
    """O(n^3) anti-kT with the E scheme: the definition of arXiv:0802.1189, word for word."""
    jets, left = [], [np.array(p) for p in momenta]

    def kinematics(p):
        pt = np.hypot(p[0], p[1])
        rapidity = 0.5 * np.log((p[3] + p[2]) / (p[3] - p[2]))
        return pt, rapidity, np.arctan2(p[1], p[0])

    while left:
        best, action = np.inf, None
        parts = [kinematics(p) for p in left]
        for i, (pt, _, _) in enumerate(parts):
            if pt**-2 < best:
                best, action = pt**-2, (i,)
        for i, j in itertools.combinations(range(len(left)), 2):
            (pt_1, y_1, phi_1), (pt_2, y_2, phi_2) = parts[i], parts[j]
            gap = ((y_1 - y_2) ** 2 + delta_phi(phi_1, phi_2) ** 2) / radius**2
            if min(pt_1**-2, pt_2**-2) * gap < best:
                best, action = min(pt_1**-2, pt_2**-2) * gap, (i, j)
        if len(action) == 1:
            jets.append(left.pop(action[0]))
        else:
            second = left.pop(action[1])
            left[action[0]] = left[action[0]] + second
    return sorted(jets, key=lambda p: -np.hypot(p[0], p[1]))


@pytest.mark.parametrize("radius", [0.4, 0.8, 1.0, 1.4])
def test_jets_are_those_of_brute_force(radius):
    generator = np.random.default_rng(6)
    counts = (25, 1, 0, 18)
    event = np.repeat(np.arange(4), counts)
    n = len(event)
    made = objects(
        event,
        generator.exponential(20, n) + 1,
        generator.uniform(-2, 2, n),
        generator.uniform(-np.pi, np.pi, n),
        kind=generator.integers(0, 5, n),
    )
    jets = anti_kt(made, radius, pt_min=5.0)
    energy = np.sqrt((made.pt * np.cosh(made.eta)) ** 2 + made.mass**2)
    momenta = np.stack(
        [
            made.pt * np.cos(made.phi),
            made.pt * np.sin(made.phi),
            made.pt * np.sinh(made.eta),
            energy,
        ]
    ).T
    for number in range(4):
        expected = [
            p for p in brute_force_anti_kt(momenta[event == number], radius) if np.hypot(*p[:2]) > 5
        ]
        rows = np.flatnonzero(jets.event == number)
        assert len(rows) == len(expected)
        for row, p in zip(rows, expected, strict=True):
            pt = np.hypot(p[0], p[1])
            mass = np.sqrt(max(p[3] ** 2 - (p[:3] ** 2).sum(), 0))
            found = [jets.pt[row], jets.eta[row], jets.phi[row], jets.mass[row]]
            np.testing.assert_allclose(
                found, [pt, np.arcsinh(p[2] / pt), np.arctan2(p[1], p[0]), mass], atol=1e-5
            )
            start, stop = jets.constituent_offsets[row : row + 2]
            np.testing.assert_allclose(momenta[jets.constituents[start:stop]].sum(axis=0), p)


# --- Selection and observables ---


def test_isolation_counts_what_is_near():
    # A muon of 100 GeV; photons at 0.3 and 0.6; below 25 GeV around it the muon is isolated.
    for around, isolated in ((24.0, True), (26.0, False)):
        event = objects(
            [0, 0, 0], [100, around, 90], [0, 0.3, 0.6], [0, 0, 0], [4, 2, 2], [True, False, False]
        )
        assert len(isolated_leptons(event)) == isolated
    electron = objects([0, 0], [100, 13], [0, 0.3], [3.1, -3.1], [3, 2], [True, False])
    assert len(isolated_leptons(electron)) == 0  # 0.13 > 0.12, across the edge in phi


def test_lepton_b_mass_is_the_nearest_to_its_target():
    lepton = objects([0], [50.0], [0.0], [0.0], [4], [True])
    made = objects([0, 0], [40.0, 60.0], [0.0, 0.5], [np.pi / 2, np.pi])
    jets = anti_kt(made, 0.4, 1.0)
    mass = lepton_b_mass(lepton, np.array([0]), jets, np.array([True, True]))
    # Massless: m^2 = 2 pT pT' (cosh(d eta) - cos(d phi)): 63.2 and 113.0 GeV.
    assert abs(mass[0] - np.sqrt(2 * 50 * 60 * (np.cosh(0.5) + 1))) < 0.05
    mass = lepton_b_mass(lepton, np.array([0]), jets, jets.pt < 50)
    assert abs(mass[0] - np.sqrt(2 * 50 * 40)) < 0.05
    assert lepton_b_mass(lepton, np.array([-1]), jets, jets.pt < 50)[0] == np.inf


def test_corrections_of_the_card():
    assert abs(energy_scale(np.array([30.0]), np.array([0.0]))[0] - np.sqrt(6.25 / 30 + 1)) < 1e-12
    assert abs(b_tag_efficiency(np.array([100.0]), np.array([5]))[0] - 0.7128) < 1e-3
    assert abs(b_tag_efficiency(np.array([100.0]), np.array([0]))[0] - 0.0138) < 1e-12


def test_fox_wolfram_moments_in_closed_form():
    orders = (0, 1, 2, 3, 4, 5)
    two = fox_wolfram(np.ones(2), np.zeros(2), np.array([0.0, np.pi]), np.array([0, 2]), orders)
    np.testing.assert_allclose(two[0], [1, 0, 1, 0, 1, 0], atol=1e-12)
    one = fox_wolfram(np.array([7.0]), np.array([1.3]), np.array([0.2]), np.array([0, 1]), orders)
    np.testing.assert_allclose(one[0], 1, atol=1e-12)
    # A sphere, evenly covered: only H_0 is left.
    n = 2_000
    cosine = (np.arange(n) + 0.5) / n * 2 - 1
    phi = np.pi * (1 + 5**0.5) * np.arange(n)
    pt = np.sqrt(1 - cosine**2)
    sphere = fox_wolfram(pt, np.arctanh(cosine), phi, np.array([0, n]), orders)
    np.testing.assert_allclose(sphere[0], [1, 0, 0, 0, 0, 0], atol=2e-3)


def test_pairs_stay_inside_their_event():
    first, second = np.array([0, 2, 2, 3]), np.array([0, 1, 3, 5])
    left, right = pairs(first, second)
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 0), (1, 0), (2, 3), (2, 4)]
    np.testing.assert_array_equal(offsets_of(np.array([0, 0, 2]), 3), [0, 2, 2, 3])

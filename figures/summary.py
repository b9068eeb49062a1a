"""The summary table: every figure of merit of a study, with its error and the published value.

One tidy table (a row a number, for the CSV) and its printed form. The demo's promises are answered
below it, yes or no.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from figures.results import MASS, Classifiers, Results, three_jets, with_observables
from jets.packed import read_jet_table
from jets.split import events_in_two_splits
from sensitivity.bootstrap import Estimate
from sensitivity.exclusion import EXCLUSION_LEVEL, INSIDE
from sensitivity.sic import max_sic, sic_at

# arXiv:2406.03096, read off its figures: single jets by eye, trees digitised to 0.5 %. At most
# these values may stand beside ours. (maximum SIC of single jets; maximum SIC, SIC at
# eps_S = 0.3 and AUC of trees on three jets)
PUBLISHED_WORKING_POINT = 0.3
PUBLISHED = {
    ("AK14", "MaxViT"): (8.5, 10.55, 9.91, 0.9795),
    ("AK10", "MaxViT"): (6.5, 8.51, 8.15, 0.9757),
    ("AK08", "MaxViT"): (5.6, 7.64, 7.33, 0.9731),
    ("AK14", "CoAtNet"): (7.9, 9.94, 9.33, 0.9771),
    ("AK10", "CoAtNet"): (6.0, 8.58, 8.03, 0.9731),
    ("AK08", "CoAtNet"): (5.0, 7.50, 7.15, 0.9702),
    ("AK14", "CNN"): (4.4, 7.75, 7.63, 0.9721),
    ("AK10", "CNN"): (4.0, 6.68, 6.51, 0.9629),
    ("AK08", "CNN"): (4.9, 6.94, 6.74, 0.9718),
}
MASSES_PRINTED = 5  # of the neutralino masses; all are in the CSV
CELL, LABEL = 28, 34  # characters
LEGEND = (
    "Errors: one standard error (±) or the 68 % interval (+ -). Limits (> <): for SIC 95 %, one-\n"
    "sided; for masses the end of the grid. In square brackets: published, arXiv:2406.03096."
)


@dataclass(frozen=True)
class Summary:
    """Numbers, one mapping a row with the same keys, and sentences about them."""

    rows: list[dict[str, object]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def add(
        self, section: str, quantity: str, row: str, value: float, low: float, high: float,
        status: str = "measured", published: float | None = None, neutralino_mass: object = "",
    ) -> None:  # fmt: skip
        """One number; `row` says of which classifier, on which jets."""
        self.rows.append(
            {
                "section": section,
                "quantity": quantity,
                "classifier": row,
                "neutralino_mass": neutralino_mass,
                "value": value,
                "low": low,
                "high": high,
                "status": status,
                "published": "" if published is None else published,
            }
        )

    def add_estimate(
        self, section: str, quantity: str, row: str, estimate: Estimate, published=None
    ) -> None:
        """A number with a symmetric error."""
        low, high = estimate.value - estimate.error, estimate.value + estimate.error
        self.add(section, quantity, row, estimate.value, low, high, published=published)

    def text(self) -> str:
        """The printed form: one block a section, one line a classifier."""
        sections = dict.fromkeys(row["section"] for row in self.rows)
        blocks = [
            _block(name, [row for row in self.rows if row["section"] == name]) for name in sections
        ]
        return "\n\n".join([LEGEND, *blocks, "\n".join(self.sentences)]) + "\n"


def summarise(results: Results, points: Mapping[str, Sequence[Mapping]]) -> Summary:
    """All numbers of a study.

    Args:
        results: of the steps.
        points: of the figures drawn so far, by the figure's name; what they hold is not computed
            again.
    """
    summary = Summary()
    _single_jets(summary, results)
    _trees(summary, results)
    for name in ("sic_networks", "sic_combinations", "sic_observables"):
        _against_mass(summary, results, points.get(name, []))
    _excluded(summary, points.get("gain", []))
    _observables(summary, results)
    _null_check(summary, results)
    packed = [read_jet_table(results.study.data_dir / f"{name}.h5") for name in results.scores.jets]
    in_two = events_in_two_splits(results.table.events, packed)
    summary.sentences.append(f"Events in two splits: {in_two} of {len(results.table.events)}.")
    return summary


def _single_jets(summary: Summary, results: Results) -> None:
    study = results.study
    section = (
        "Single jets, held out (max SIC over eps_S >= "
        f"{study.signal_efficiency_min:g}, at least {study.background_jets_min} background jets)"
    )
    for definition in results.scores.jets:
        classifiers = results.of_jets(definition)
        names = list(classifiers.score)
        aucs = classifiers.aucs(study.bootstraps)
        mass = names.index(MASS)
        margins = {}
        for i, name in enumerate(names):
            row = f"{definition} {name}"
            published = PUBLISHED.get((definition, name), (None,))[0]
            difference = aucs.difference(i, mass)
            if name in results.study.networks:
                margins[name] = difference.value / difference.error
            summary.add_estimate(section, "AUC", row, aucs[i])
            if i != mass:
                summary.add_estimate(section, "AUC - AUC of mass", row, difference)
            best = _max_sic(classifiers, name, results, study.background_jets_min)
            summary.add_estimate(section, "max SIC", row, best, published)
        best = max(margins, key=margins.get)
        summary.sentences.append(
            f"{definition}: a network beats the jet mass by more than two standard errors: "
            f"{_answer(margins[best] > 2)} ({best}, {margins[best]:+.1f})."
        )


def _trees(summary: Summary, results: Results) -> None:
    study = results.study
    section = f"Trees, events held out (at least {study.background_events_min} background events)"
    classifiers = results.of_events
    names = list(classifiers.score)
    aucs = classifiers.aucs(study.bootstraps)
    network_of = {
        fit: (definition, network)
        for definition in results.scores.jets
        for fit, network in three_jets(definition, results.networks(definition)).items()
    }
    for i, name in enumerate(names):
        _, best, at_point, auc = PUBLISHED.get(network_of.get(name), (None,) * 4)
        if study.working_point != PUBLISHED_WORKING_POINT:
            at_point = None
        point = sic_at(
            *classifiers.pair(name),
            study.working_point,
            background_min=study.background_events_min,
            bootstraps=study.bootstraps,
        )
        summary.add_estimate(section, "AUC", name, aucs[i], auc)
        estimate = _max_sic(classifiers, name, results, study.background_events_min)
        summary.add_estimate(section, "max SIC", name, estimate, best)
        summary.add(
            section, f"SIC at eps_S = {study.working_point:g}", name, point.value, point.low,
            point.high, "lower limit" if point.is_lower_limit else "measured", at_point,
        )  # fmt: skip


def _max_sic(
    classifiers: Classifiers, name: str, results: Results, background_min: int
) -> Estimate:
    return max_sic(
        *classifiers.pair(name),
        signal_efficiency_min=results.study.signal_efficiency_min,
        background_min=background_min,
        bootstraps=results.study.bootstraps,
    )


def _against_mass(summary: Summary, results: Results, points: Sequence[Mapping]) -> None:
    section = (
        f"SIC at eps_S = {results.study.working_point:g} by neutralino mass in GeV, trees on events"
    )
    for point in points:
        summary.add(
            section,
            "SIC",
            f"{point['group']}: {point['classifier']}",
            point["sic"],
            point["low"],
            point["high"],
            "lower limit" if point["is_lower_limit"] else "measured",
            neutralino_mass=point["neutralino_mass"],
        )


def _excluded(summary: Summary, points: Sequence[Mapping]) -> None:
    section = f"Excluded stop mass in GeV (Z = {EXCLUSION_LEVEL}) by neutralino mass in GeV"
    for point in points:
        summary.add(
            section, "excluded stop mass", point["classifier"], point["excluded_mass"],
            point["excluded_low"], point["excluded_high"],
            {INSIDE: "measured", "above grid": "lower limit", "below grid": "upper limit"}[
                point["status"]
            ],
            neutralino_mass=point["neutralino_mass"],
        )  # fmt: skip
    for point in points:
        if point["classifier"] != "DS2":
            summary.add(
                "Gain in excluded stop mass over DS2 alone in GeV by neutralino mass in GeV",
                "gain in excluded stop mass", point["classifier"], point["gain"],
                point["gain_low"], point["gain_high"], point["gain_is"],
                neutralino_mass=point["neutralino_mass"],
            )  # fmt: skip
    if loosened := sum(point["loosened_cuts"] for point in points):
        summary.sentences.append(
            f"Cuts were loosened to keep enough background at {loosened} combinations of "
            "classifier and mass point; exclusion_plane.csv names them."
        )


def _observables(summary: Summary, results: Results) -> None:
    classifiers = results.of_events.named(with_observables(results.study.networks))
    names = list(classifiers.score)
    if "DS2" not in names or len(names) < 2:
        return
    aucs = classifiers.aucs(results.study.bootstraps)
    reference = names.index("DS2")
    for i, name in enumerate(names):
        if i != reference:
            difference = aucs.difference(i, reference)
            summary.add_estimate("What the scores add to DS2", "AUC - AUC of DS2", name, difference)
            summary.sentences.append(
                f"AUC of {name} is not below that of DS2 by more than two standard errors: "
                f"{_answer(difference.value > -2 * difference.error)}."
            )


def _null_check(summary: Summary, results: Results) -> None:
    for definition in results.scores.jets:
        classifiers = results.of_shuffled_jets(definition)
        if not classifiers.score:
            continue
        aucs = classifiers.aucs(results.study.bootstraps)
        for i, name in enumerate(classifiers.score):
            row = f"{definition} {name}"
            summary.add_estimate(
                "Null check: trained, tested on permuted labels", "AUC", row, aucs[i]
            )
            summary.sentences.append(
                f"{row}, permuted labels: AUC is 0.5 within three standard errors: "
                f"{_answer(abs(aucs[i].value - 0.5) < 3 * aucs[i].error)}."
            )


def _answer(is_so: bool) -> str:
    return "yes" if is_so else "NO"


def _block(section: str, rows: list[dict[str, object]]) -> str:
    """One section as text: a line a classifier, a column a quantity or neutralino mass."""
    by_mass = rows[0]["neutralino_mass"] != ""
    column = "neutralino_mass" if by_mass else "quantity"
    columns = list(dict.fromkeys(row[column] for row in rows))
    if by_mass and len(columns) > MASSES_PRINTED:
        wanted = np.linspace(0, len(columns) - 1, MASSES_PRINTED).round().astype(int)
        columns = [columns[i] for i in wanted]
    cells = {(row["classifier"], row[column]): _cell(row) for row in rows}
    labels = list(dict.fromkeys(row["classifier"] for row in rows))
    width = max(LABEL, *(len(label) + 2 for label in labels))
    lines = [section, " " * width + "".join(f"{name!s:<{CELL}}" for name in columns)]
    lines += [
        f"{label:<{width}}" + "".join(f"{cells.get((label, name), ''):<{CELL}}" for name in columns)
        for label in labels
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cell(row: Mapping) -> str:
    """A number to two digits of its error, as a limit where it is one, the published one behind."""
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    if not np.isfinite(value):
        return "-"
    published = f" [{row['published']}]" if row["published"] != "" else ""
    if row["status"] != "measured":
        return f"{'>' if row['status'] == 'lower limit' else '<'} {value:.3g}{published}"
    below, above = value - low, high - value
    error = max(below, above)
    if not error > 0:
        return f"{value:.4g}{published}"
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 4))
    if abs(above - below) < 0.1 * error:
        return f"{value:.{digits}f} ± {error:.{digits}f}{published}"
    return f"{value:.{digits}f} +{above:.{digits}f} -{below:.{digits}f}{published}"

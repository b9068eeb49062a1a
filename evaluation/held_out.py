"""The held-out events as a table that other tools read."""

import numpy as np

from evaluation.pages import Rows
from evaluation.results import Results
from event_level.fits import column_names, columns, reason_against, with_all_known
from jets.split import HELD_OUT, is_variation, mass_point
from processes import numbered


def held_out_events(results: Results) -> Rows:
    """All features that take no network, with process and weight; none if they are not known.

    Each mass point is a process of its own. The weights are those of all events, of which the
    held-out ones are a share: they add up to the expected events of a process, where those are
    known. Variations are left out.
    """
    [known] = with_all_known([])
    if reason_against(known, results.scores, results.table):
        return []
    events = results.table.events[results.scores.event]
    rows = np.flatnonzero(~is_variation(events))
    events = events[rows]
    _, first, point = np.unique(mass_point(events), return_index=True, return_inverse=True)
    names = np.array([_name(event) for event in events[first]], object)
    seen = columns(known, results.scores, results.table)[rows]
    table = {"process": names[point]}
    table["weight"] = events["weight"] / results.study.images.split[HELD_OUT]
    table |= dict(zip(column_names(known), seen.T, strict=True))
    cells = zip(*(column.tolist() for column in table.values()), strict=True)
    return [dict(zip(table, row, strict=True)) for row in cells]


def _name(event: np.void) -> str:
    process = numbered(event["process"])
    numbers = [event["m_stop"], event["m_neutralino"]][: len(process.parameters)]
    return process.sample_name(*numbers)

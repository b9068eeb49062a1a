"""Step 1: look through the collisions, draw jet images, pack them, split by event.

Not a packaging script; `pip install -r requirements.txt` installs what is needed.

Reads one source and says which: our own collisions in train_data/<sample>/, else (studies that ask
for it) the published files in train_data/; of a study of jets of particles these, ours or the
public ones that lie in train_data/<sample>/ in their place. Writes Data/<study>/events.h5, AK08.h5,
AK10.h5, AK14.h5 (jets of particles: the one of their radius, AK04.h5 or AK08.h5) and setup.json.
Every input file is validated first, and no event may be there twice; files that the study does not
ask for are left out and named. Running it again is free.

    python setup.py                     the study `readme`
    python setup.py --study demo
    python setup.py --study studies/top_tagging.toml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import itertools
import json
import math
from collections.abc import Mapping, Sequence

from command import InputError, parser_of, run
from processes import PROCESSES, Process
from products import alone, fingerprints, is_finished, unchanged, write_manifest
from study import Study, add_study_options, study_of


def main(arguments: list[str] | None = None) -> None:
    """Run step 1."""
    parser = parser_of(__doc__)
    parser.allow_abbrev = False
    add_study_options(parser)
    options, others = parser.parse_known_args(arguments)
    if others:  # such as what packaging tools ask
        raise InputError(
            f"this is step 1 of an analysis, knows --study and --set, and installs nothing: no "
            f"{others[0]!r}; run `pip install -r requirements.txt`, then `python setup.py`"
        )
    study = study_of(options)
    # Not at the top: pip may run this file where numpy is not installed, to be refused above.
    from jets.packed import LAYOUT
    from jets.preparation import choose, inventory, look_through, pack
    from jets.sources import PUBLIC_JETS, find_source, listed, missing_samples
    from jets.split import SPLITS, events_in_two_splits
    from training.plan import trainings

    trainings(study)  # a network that does not exist is better found now than in step 2
    source = find_source(study)
    print(f"source: {source.name}, {source.folder}/, {len(source.paths)} files")
    for reason, paths in source.left_out.items():
        print(f"left out: {len(paths)} file{'s' * (len(paths) > 1)} {reason}: {listed(paths)}")
    manifest = study.data_dir / "setup.json"
    roles = {name: PROCESSES[name].role for name in study.sample.processes}
    settings = study.settings("setup") | {"layout": LAYOUT, "roles": roles}
    if is_finished(manifest, settings, source.paths):
        print(f"nothing to do: {study.data_dir}/ was made from these files with these settings")
        return

    require_its_own(manifest, options.study)
    read = fingerprints(path for path in source.paths if path.is_file())  # else it is refused below
    with unchanged(read):
        overview = look_through(source, study)
        if len(overview.off_grid):
            masses = sorted(set(overview.off_grid.tolist()))
            print(
                f"left out: {len(overview.off_grid)} signal events whose neutralino masses are not "
                f"on the grid of this study: {', '.join(f'{mass:g}' for mass in masses)} GeV"
            )
        print(*overview.remarks, sep="\n", end="\n" * bool(overview.remarks))
        print_inventory(inventory(overview), list(overview.jets))
        if source.name != PUBLIC_JETS:
            print_missing(study, missing_samples(study, overview.table.samples))
        chosen = {name: choose(overview, study, name) for name in overview.jets}
        packed = {name: jets for name, (_, jets) in chosen.items()}
        in_two = events_in_two_splits(overview.table.events, packed.values())
        n_events = len(overview.table.events)
        print(f"events in two splits: {in_two} of {n_events}, none of which is there twice")
        assert in_two == 0
    with alone(manifest):
        manifest.unlink(missing_ok=True)  # from here on it would vouch for files that are replaced
        with unchanged(read):
            outputs = pack(source, overview, chosen, study)
        print_packed(packed, SPLITS)
        facts = {"source": source.name, "stated_by": options.study}
        write_manifest(manifest, settings, read, outputs, **facts)
    print(f"written: {', '.join(map(str, [*outputs, manifest]))}")


def require_its_own(manifest: Path, stated_by: str) -> None:
    """InputError if this would replace what another TOML file, still there, states."""
    try:
        other = json.loads(manifest.read_text(encoding="utf-8"))["stated_by"]
        is_another = not Path(other).samefile(stated_by)
    except (OSError, ValueError, KeyError, TypeError):  # no such manifest, or no such file
        return
    if is_another:
        raise InputError(f"{manifest.parent}: is of the study in {other}; rename {stated_by}")


def print_inventory(lines: list[tuple], names: list[str]) -> None:
    """A table with one line per background file and stop mass, and columns for jet definitions."""
    header = ["sample", "points", "selected", "loose", "weighted", *names, *names]
    print(f"\n{'':<22}{'events':>12}{'jets':>28}{'matched jets of a mass point':>53}")
    for line in (header, *lines):
        name, points, selected, fewer, weight, *numbers = map(str, line)
        counts, matched = numbers[: len(names)], numbers[len(names) :]
        print(f"{name:<17}{points:>7}{selected:>10}{fewer:>7}{weight:>12}", end="")
        print("".join(f"{n:>9}" for n in counts) + "".join(f"{n:>12}" for n in matched).rstrip())


def print_missing(study: Study, missing: Mapping[Process, Sequence[tuple[int, ...]]]) -> None:
    """What the study asks for and is not there, process by process."""
    print()
    for process, files in missing.items():
        names, axes = process.parameters or ("index",), study.axes_of(process)
        print(f"missing of {process.name}: {len(files)} of {math.prod(map(len, axes))}")
        for first, rest in itertools.groupby(files, lambda numbers: numbers[:-1]):
            before = "".join(f"{names[0]} {value}: " for value in first)
            print(f"  {before}{names[-1]} {spans([numbers[-1] for numbers in rest], axes[-1])}")


def spans(values: Sequence[int], grid: Sequence[int]) -> str:
    """Values of a grid, neighbours drawn together.

    >>> spans([100, 120, 130, 140], range(100, 200, 10))
    '100, 120-140'
    """
    runs = itertools.groupby(enumerate(values), lambda pair: grid.index(pair[1]) - pair[0])
    ends = [[value for _, value in run] for _, run in runs]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


def print_packed(packed: Mapping, splits: Sequence[str]) -> None:
    """Jets packed of every definition, by split and class."""
    for name, jets in packed.items():
        print(f"{name}:", end="")
        for split, split_name in enumerate(splits):
            labels = jets["label"][(jets["split"] == split) & jets["classified"]]
            print(f"  {split_name} {(labels == 1).sum()} + {(labels == 0).sum()}", end="")
        trained = jets["label"][jets["split"] < len(splits) - 1]
        fewer = (trained == 0).sum() < (trained == 1).sum()
        print("  (signal + background)", "all the background there is" if fewer else "")


if __name__ == "__main__":
    run(main)

"""Step 0: simulate proton collisions at 13 TeV, if you do not have the published files.

Reads   nothing.
Writes  train_data/<sample>/ttbar_<index>.h5 and stop_<m_stop>_<m_neutralino>.h5 (layout:
        doc/data-format.md), or of what other processes the study asks for: the events that pass
        the preselection of CMS SUS-19-004 with at least five jets (fully selected: seven). With
        --variations instead fully selected top pairs of other showers,
        train_data/<sample>/<sample>_<variation>/ttbar_0.h5, in slices if the study takes top pairs
        in slices. Chunks on the way lie in chunks/ beside the files; a second call goes on from
        them, and the files do not depend on the number of workers.
Takes   per fully selected event and core 0.5 to 1 s (top pairs) and 0.06 to 0.25 s (stop pairs).

    python simulate.py --study demo
    python simulate.py --study readme --only stop_900_300 ttbar_0 --workers 16
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import argparse
import contextlib
import importlib.util
import resource

from collisions.production import is_complete, samples_of, simulate, take_up
from command import InputError, run
from jets.published import write_published
from processes import PROCESSES, variations_of
from products import alone, cores
from study import add_study_options, study_of


def print_profile(seconds: dict[str, float]) -> None:
    """Each stage's share of the time, and what everything after Pythia costs relative to it."""
    total = sum(seconds.values())
    for stage, spent in seconds.items():
        print(f"{stage:12s} {spent:9.1f} s  {spent / total:6.1%}")
    print(f"after Pythia / Pythia = {total / seconds['Pythia'] - 1:.2f}")


def main() -> None:
    """Parse options, simulate what is missing, say what was made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_study_options(parser)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="files to make, e.g. ttbar_0")
    parser.add_argument(
        "--variations",
        nargs="+",
        choices=list(variations_of(PROCESSES)),
        default=[],
        metavar="NAME",
        help=f"instead: top pairs of other showers ({', '.join(variations_of(PROCESSES))})",
    )
    parser.add_argument("--workers", type=int, default=cores(), help="default: all cores")
    parser.add_argument("--tries", type=int, help="events in a chunk (default: some 10 s of them)")
    parser.add_argument("--no-veto", action="store_true", help="finish every top-pair event")
    parser.add_argument(
        "--published-layout",
        action="store_true",
        help="also write images as published, to train_data/<sample>/published/",
    )
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    for name in ("workers", "tries"):
        if (number := getattr(options, name)) is not None and number < 1:
            raise InputError(f"--{name} is {number}, expected 1 or more")
    if options.variations and (options.only or options.no_veto or options.published_layout):
        parser.error("--variations has files of its own: no --only, --no-veto, --published-layout")
    study = study_of(options)
    varied = variations_of(study.sample.processes)
    if unknown := [name for name in options.variations if name not in varied]:
        raise InputError(
            f"--variations {unknown[0]}: varies no process of study {study.name!r}, which has "
            f"{', '.join(study.sample.processes)}; leave it out"
        )
    parts = [part for name in dict.fromkeys(options.variations) for part in varied[name]]
    names = [part.name for part in parts] or study.sample.processes
    samples = samples_of(study, names, not options.no_veto, options.tries)
    if options.only:
        known = {sample.name: sample for sample in samples}
        if unknown := [name for name in options.only if name not in known]:
            raise InputError(
                f"--only {unknown[0]}: not a file of study {study.name!r}, which has "
                f"{samples[0].name} ... {samples[-1].name}; correct the name"
            )
        samples = [known[name] for name in dict.fromkeys(options.only)]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # there is a lock for each file
    for package in ("pythia8mc", "fastjet"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"the package {package!r} is not installed; simulate.py needs it; it has wheels "
                "for Linux x86-64 with Python 3.11 to 3.13 only: use such a machine, and copy "
                "train_data/ from it"
            )

    with contextlib.ExitStack() as locks:
        incomplete = [sample for sample in samples if not is_complete(sample)]
        for sample in incomplete:
            locks.enter_context(alone(sample.path))
            take_up(sample)
        missing = [s for s in incomplete if sum(s.selected.values()) < s.target]
        missing += [s for s in incomplete if s not in missing and s.begun > s.merged]
        if missing:
            seconds = simulate(missing, options.workers)
            if options.profile:
                print_profile(seconds)
        else:
            folder = samples[0].folder
            print(f"{folder}: all {len(samples)} files are there, nothing to simulate")
    if options.published_layout:
        published = study.sample_dir / "published"
        with alone(published):
            write_published(published, [sample.path for sample in samples])


if __name__ == "__main__":
    run(main)

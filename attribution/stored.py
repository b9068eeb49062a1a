"""Attributions on disk, each with its manifest: what is finished is read, the rest computed."""

import dataclasses
import hashlib
import json
import shutil

from attribution.averages import Explained, explain, read_explained, write_explained
from attribution.baselines import DRAWN
from attribution.subject import Subject
from products import alone, is_finished, read_manifest, unchanged, write_manifest


def stored(subject: Subject, baseline: str, draws: int, steps: int, output: str) -> Explained:
    """The attributions of a subject from one baseline, in Data/<study>/attributions/<training>/.

    Args:
        baseline: a key of `BASELINES`.
        draws: of a baseline that is drawn.
        steps, output: see `explain`.

    Raises:
        InputError: they miss the change of the output.
    """
    study, trained = subject.study, subject.trained
    folder = study.data_dir / "attributions" / trained.best.parent.name
    path, title = folder / f"{output}_{baseline}.h5", f"{trained.training} {output} {baseline}"
    made = read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    inputs = made["outputs"] | {str(trained.best): trained.fingerprint}
    settings = {
        "training": dataclasses.asdict(trained.training), "baseline": baseline, "output": output,
        "rows": len(subject.rows), "draws": draws if baseline in DRAWN else 1, "steps": steps,
    }  # fmt: skip
    manifest = path.with_suffix(".json")
    if not is_finished(manifest, settings, inputs):
        decisive = json.dumps([settings, inputs], sort_keys=True)
        parts = folder / f".parts_{hashlib.sha256(decisive.encode()).hexdigest()[:12]}"
        with alone(path):
            with unchanged(inputs):
                found = explain(
                    subject.network, subject.inputs, subject.rows,
                    subject.baseline(baseline, settings["draws"]), steps, output, title, parts,
                )  # fmt: skip
            found.require_complete(title)
            write_explained(path, found)
            write_manifest(manifest, settings, inputs, [path])
            shutil.rmtree(parts)
    return read_explained(path)

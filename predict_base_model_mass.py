"""Step 3: score the three hardest jets of every held-out event with every base classifier.

Reads   Data/<study>/{events,AK08,AK10,AK14}.h5 of setup.py, and the best epoch of every finished
        training in Data/<study>/models/: at least those that train_all.sh runs, of any seed.
Writes  Data/<study>/scores.h5: the probability of signal, -1 where there is no jet, by event; the
        mass point of an event is in events.h5. scores.json says what made it.

Where trainings were added, only these are scored.

    python predict_base_model_mass.py --study demo
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
from command import parser_of, run
from jets.angularities import ANGULARITIES
from jets.scores import JET_COLUMNS, write_scores
from products import alone, is_finished, read_manifest, unchanged, write_manifest
from study import add_study_options, study_of
from training.learner import choose_device
from training.scoring import finished_trainings, score_all


def main() -> None:
    """Parse the options, score, write."""
    parser = parser_of(__doc__)
    add_study_options(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    options = parser.parse_args()
    study = study_of(options)
    device = choose_device(options.device)

    prepared = read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    trained = finished_trainings(study)
    inputs = prepared["outputs"] | {str(one.best): one.fingerprint for one in trained}
    settings = study.settings("predict") | {
        "trainings": [str(one.training) for one in trained],
        "columns": [*JET_COLUMNS, *ANGULARITIES],
    }
    manifest, scores = study.data_dir / "scores.json", study.data_dir / "scores.h5"
    if is_finished(manifest, settings, inputs):
        print(f"scores of study {study.name}: already there, see {scores}")
        return

    with alone(manifest):
        with unchanged(inputs):
            write_scores(scores, score_all(study, trained, device))
        write_manifest(manifest, settings, inputs, [scores])
    print(f"scores of {len(trained)} trainings: {scores}")


if __name__ == "__main__":
    run(main)

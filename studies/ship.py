"""Put a trained network into the repository: its weights, and the tables of its model card.

Reads   a finished training of a study, and what plots.py made of the study.
Writes  models/weights/<jet definition>_<network>.safetensors, and the tables of
        models/weights/README.md between their marks.

    python -m studies.ship AK14 MaxViT 0 --study studies/weights_cpu.toml
"""

import json
from pathlib import Path

from command import InputError, parser_of, run
from evaluation.pages import environment, show
from jets.packed import read_jets
from jets.split import TRAIN, VALIDATION
from models.pretrained import save_weights
from products import atomic_write, read_csv, read_manifest
from studies.ordering import table
from study import add_study_options, study_of
from training import checkpoint
from training.plan import Training
from training.scoring import read_trained

CARD = Path("models/weights/README.md")


def main() -> None:
    """Parse options, write weights and tables."""
    parser = parser_of(__doc__)
    parser.add_argument("jet_definition", help="AK08, AK10 or AK14")
    parser.add_argument("network", help="a name in models.MODELS, in any case")
    parser.add_argument("seed", type=int)
    add_study_options(parser)
    options = parser.parse_args()
    study = study_of(options)
    training = Training(options.jet_definition, options.network, options.seed)

    manifest, shown = training.directory(study) / "manifest.json", study.classifiers.seeds[0]
    if training.seed != shown:
        raise InputError(f"{training}: the tables are of seed {shown}, expected that one")
    trained = read_trained(manifest, study)
    record = read_manifest(manifest, made_by="train.py")
    read_manifest(study.plots_dir / "plots.json", made_by="plots.py")
    jets = [
        read_jets(study.data_dir / f"{training.jet_definition}.h5", split)
        for split in (TRAIN, VALIDATION)
    ]
    some = jets[0]
    network = training.create(study, some.side)
    checkpoint.load(trained.best, network, trained.settings)
    facts = {
        "network": training.network,
        "jet_definition": training.jet_definition,
        "pixels": some.side,
        "width": study.training.width,
        "network_options": json.dumps(trained.settings["network_options"]),
        "oriented": study.images.oriented,
        "pixel_scale": study.training.pixel_scale,
        "standardised_mass": study.training.standardised_mass,
        "mass_mean": some.mass_mean,  # TeV, of the training jets
        "mass_std": some.mass_std,
        "seed": training.seed,
        "study": study.name,
        "sample": study.sample_dir.name,
        "training_jets": len(some),
        "validation_jets": len(jets[1]),
        "epochs": study.training.epochs,
        "best_epoch": record["best_epoch"] + 1,
        "checkpoint_sha256": record["outputs"][str(trained.best)]["sha256"],
    }
    facts = {name: str(value) for name, value in facts.items()}
    path = CARD.parent / f"{training.jet_definition}_{training.network}.safetensors"
    with atomic_write(path) as temporary:
        save_weights(temporary, network, facts)

    wanted = {
        "table": "merits",
        "level": "jets",
        "spectrum": "",
        "jet_definition": training.jet_definition,
    }
    rows = read_csv(study.data_dir / "summary.csv")
    show(CARD, "facts", [{"fact": name, "value": value} for name, value in facts.items()])
    show(CARD, "scores", [row for row in rows if wanted.items() <= row.items()], table)
    show(CARD, "environment", environment())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)

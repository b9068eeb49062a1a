"""The whole pipeline: each rule is the command that people type, and the files are its manifests.

    snakemake --cores 8 --config study=demo                       # on this machine
    snakemake --profile profiles/slurm --config study=my.toml     # on a cluster

What `--config` knows:
    study     demo, readme (default), paper, best or a TOML file that states one
    simulate  True: make what is missing of the study's own sample, a job for each of its files.
              False: take what lies in train_data/ as setup.py does, published files or a part of
              a sample. Without it, only studies that take no published files simulate.
    python    the interpreter that has requirements.txt (default: Snakemake's own)

Steps know themselves what is finished and what is half done, so their outputs are marked `update`:
Snakemake would delete them otherwise before it starts a step again. A chunk of a simulation and an
epoch of a training are what a killed job loses at most. A changed TOML file starts every step
again, and each skips what the change does not concern.

Resources are roomy requests: readme, paper and best have not been run at full size.
"""

import sys

from processes import VARIATION, of_role
from study import PRESETS, load_study
from training.plan import trainings

STUDY = config.get("study", "readme")
PYTHON = config.get("python", sys.executable)
SCRIPTS = workflow.basedir

study = load_study(STUDY)
TRAININGS = {training.directory(study).name: training for training in trainings(study)}

SIMULATE = str(config.get("simulate", not study.sample.published_files)).lower()
if SIMULATE not in ("true", "false"):
    raise ValueError(f"--config simulate={SIMULATE}: expected true or false")

if SIMULATE == "true":
    SAMPLE = study.sample_files

    rule simulate:
        output: update(f"{study.sample_dir}/{{name}}.h5")
        params: events=(study.simulation, study.sample.background_files)
        threads: 4
        resources: mem="8GB", runtime="12h"
        shell:
            "{PYTHON:q} {SCRIPTS:q}/simulate.py --study {STUDY:q}"
            " --only {wildcards.name} --workers {threads}"

else:
    published = study.sample_dir.parent.glob("[!.]*.hdf5")
    SAMPLE = sorted(study.sample_dir.glob("[!.]*.h5")) or sorted(published)


VARIATIONS = [
    path for process in of_role(VARIATION).values() for path in study.variation_files(process)
]


rule setup:
    input: SAMPLE, VARIATIONS, [] if STUDY in PRESETS else STUDY
    output: update(f"{study.data_dir}/setup.json")
    resources: mem="32GB", runtime="6h"
    shell: "{PYTHON:q} {SCRIPTS:q}/setup.py --study {STUDY:q}"


rule train:
    input: rules.setup.output
    output: update(f"{study.data_dir}/models/{{training}}/manifest.json")
    params: arguments=lambda wildcards: str(TRAININGS[wildcards.training])
    threads: 4
    resources: gpu=1, mem="16GB", runtime="12h"
    shell: "{PYTHON:q} {SCRIPTS:q}/train.py {params.arguments} --study {STUDY:q}"


rule predict:
    input: expand(rules.train.output, training=TRAININGS)
    output: update(f"{study.data_dir}/scores.json")
    threads: 4
    resources: gpu=1, mem="32GB", runtime="6h"
    shell: "{PYTHON:q} {SCRIPTS:q}/predict_base_model_mass.py --study {STUDY:q}"


rule fit:
    input: rules.predict.output
    output: update(f"{study.data_dir}/trees.json")
    threads: study.trees.folds
    resources: mem="32GB", runtime="6h"
    shell: "{PYTHON:q} {SCRIPTS:q}/fit_xgb.py --study {STUDY:q}"


rule plots:
    input: rules.fit.output
    output: update(f"{study.plots_dir}/plots.json")
    resources: mem="16GB", runtime="2h"
    shell: "{PYTHON:q} {SCRIPTS:q}/plots.py --study {STUDY:q}"


rule all:  # each step by name: Snakemake would not miss a training that lies behind the figures
    default_target: True
    input:
        rules.setup.output, rules.predict.input, rules.predict.output,
        rules.fit.output, rules.plots.output,

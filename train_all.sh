#!/usr/bin/env bash
# Train all networks of a study on all three jet definitions, and its null check:
#
#     ./train_all.sh --study demo --device cpu
#
# Takes every option of train.py that does not name a training. Finished trainings are skipped, an
# interrupted one goes on from its newest checkpoint, the first error ends it with that exit status, and
# each training keeps its log in Data/<study>/models/<training>/log.txt.
set -euo pipefail
exec "${PYTHON:-python}" "$(dirname -- "${BASH_SOURCE[0]}")/train.py" --all "$@"

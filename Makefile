# make demo: the whole pipeline on the collisions in train_data/demo.
# make test: the tests. Both make .venv first and install requirements.txt into it.

PYTHON ?= python3
BIN := .venv/bin
CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: demo test
.NOTPARALLEL:

demo: .venv/installed
	@echo "The demo: jets of 2,500 simulated top pairs and 5,000 stop pairs (train_data/demo) become"
	@echo "images, train narrow versions of five networks on three jet definitions, and end in every"
	@echo "figure of the paper. Some minutes on two cores without a GPU; a second run only draws what"
	@echo "explain.py found."
	$(BIN)/python setup.py --study demo
	PYTHON=$(BIN)/python ./train_all.sh --study demo
	$(BIN)/python predict_base_model_mass.py --study demo
	$(BIN)/python fit_xgb.py --study demo
	$(BIN)/python plots.py --study demo
	$(BIN)/python explain.py AK14 CNN 0 --study demo --jets 20 --draws 4 --steps 32

test: .venv/installed .venv/installed-snakemake
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) -q

.venv/installed: requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..."; exit 2; }
	@echo "Installing requirements.txt into .venv (5 GB with PyTorch's CUDA libraries, some minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	@touch $@

.venv/installed-snakemake: .venv/installed requirements-snakemake.txt
	$(BIN)/pip install --quiet --requirement requirements.txt --requirement requirements-snakemake.txt
	@touch $@

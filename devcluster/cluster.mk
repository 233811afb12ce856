## ---- cluster and images (included by the Makefile; docs/devcluster.md) ------------------------------------------------

DEVCLUSTER = $(BIN)/python -m devcluster

.PHONY: system
system: ## The Debian packages that the cluster needs (installed when root, listed otherwise)
	@bash devcluster/system-packages.sh cluster

.PHONY: cluster
cluster: venv ## A Kubernetes to work with: kind where Docker runs, else the embedded one (DEVCLUSTER_PROVIDER)
	@$(DEVCLUSTER) target up

.PHONY: cluster-down
cluster-down: ## Remove the cluster; programs and images stay cached
	@if [[ -x $(BIN)/python ]]; then $(DEVCLUSTER) target down; fi

.PHONY: cluster-clean
cluster-clean: ## Remove the cluster and every cache of it
	@if [[ -x $(BIN)/python ]]; then $(DEVCLUSTER) clean; fi

.PHONY: cluster-prune
cluster-prune: venv ## Remove images of older sources that nothing uses; also while the cluster runs
	@$(DEVCLUSTER) prune

.PHONY: images
images: venv ## Build what changed of the operator's and the runtimes' images (refs in .out/images.json)
	@$(DEVCLUSTER) images

# A cluster that has these images. With cold caches its programs take minutes to compile and the images minutes to
# download, so both happen at once.
define cluster-with
	@$(MAKE) -j 2 cluster built-images IMAGES="$(1)"
	@$(DEVCLUSTER) images $(1)
endef

.PHONY: built-images
built-images: venv
	@$(DEVCLUSTER) images --only-build $(IMAGES)

.PHONY: helm
helm: venv ## The helm program alone, for the chart tests
	@$(DEVCLUSTER) helm > /dev/null

.PHONY: emulators
emulators: venv ## The servers that the slow tests speak to: stores of models, as real as a machine without a cloud has them
	@bash devcluster/system-packages.sh emulators
	@$(DEVCLUSTER) emulators

"""The model server that every scoring pod runs: fetch a model, load it, score requests in batches."""

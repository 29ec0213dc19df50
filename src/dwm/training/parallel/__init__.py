"""Several processes as one run: ranks, copies and shards, and tensors that are spread over them."""

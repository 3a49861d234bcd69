"""Send pictures to a server or a store: a batch, its requests, and what verifies them."""

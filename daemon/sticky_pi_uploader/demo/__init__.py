"""Made pictures for `demo`, benchmarks and tests."""

"""What the library's speed is measured against: ``python -m benchmarks``. Every comparison runs side by side."""

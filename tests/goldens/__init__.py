"""Golden references: made once by make.py with PyTorch and transformers, compared by test_goldens.py without them."""

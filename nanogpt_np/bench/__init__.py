"""Ours against each installed peer, in one run, so that both meet the same machine in the same minutes.

Enter: what to measure. Leave: tables, and JSON.
To read: report, isa, workers, ours, checks, ctranslate, llama, large, peers, roster, growth, batches, suites.
"""

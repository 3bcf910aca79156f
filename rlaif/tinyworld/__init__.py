"""tinyworld, the embedded default: a small simulated world with an oracle, and tiny models for it.

`lexicon` and `grammar` are its language, `oracle` and `principles` its truth, `corpus` and `revision` its texts; the
rest trains and measures its models. The engine knows nothing of it: the models are ordinary folders, the prompts
ordinary JSONL, and run files name the oracle as their scorer.
"""

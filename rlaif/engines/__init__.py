"""The only importers of transformers, vLLM, HTTP clients and trackers.

Stages reach them by registry name. Nothing is imported here: an engine that asks an endpoint needs none of the others.
"""

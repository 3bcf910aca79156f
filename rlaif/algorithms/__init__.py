"""Learning algorithms, one file each: `Config`, what to prepare once per batch, and `loss`. Tensors only.

A loss returns its *share*: it divides by the token count or label weight of the whole minibatch, which the caller
gives, so that losses, gradients and stats of micro-batches add up to those of the minibatch, however it was split.
`rlaif.batches.merge_stats` adds the stats.
"""

"""The mathematics of preference optimisation, importable with torch alone: no configuration, no models, no I/O.

Dimension suffixes: B batch rows, T tokens, V vocabulary, G samples of one prompt, K ensemble members, N examples.

Masks are called `keep`, are boolean, and True takes part. What stands at an entry that is not kept has no influence: it
may be NaN, the result there is 0, and the gradient that flows back to it is 0. A row with nothing kept contributes
nothing; a reduction that would divide by zero kept entries raises `ValueError`, so an empty batch never becomes a NaN.

`docs/formulas.md` lists every function with the equation that it implements.
"""

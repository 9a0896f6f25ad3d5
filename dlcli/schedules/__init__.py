"""Learning-rate factors as pure functions of a run's progress: nothing to save, nothing to restore.

`factor(progress)` belongs to the update that follows `progress.step` updates, so `step=0` is the first one.
"""

"""Fusion (S2): sound and motion become text, a language model says what is being done. Notebooks 05 and 05b.

Read in this order: ``clips`` (what is looked at), ``encoders`` (signals to guesses, side by side as observations),
``answerers`` (``prompt``, ``task`` and ``inference``: guesses to an answer; ``baselines``: the same without a language
model), ``ablation`` (what each modality is worth), ``doses`` and ``motion_capacity`` (what encoders' errors and size
cost), ``study`` and ``error_study`` (what the two notebooks ask), ``tables``, ``views``, ``figures`` (what they show).
"""

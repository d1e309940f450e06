"""Fusion (S2): sound and motion become text, a language model says what is being done. See ``05_fusion``.

Read in this order: ``clips`` (what is looked at), ``encoding`` (signals to guesses), ``observations`` (guesses side by
side), ``prompting`` (guesses to a prompt), ``asking`` (prompt to an answer), ``baselines`` (the same without a language
model), ``ablation`` and ``propagation`` (what each modality is worth, what errors cost).
"""

"""Distillation: a small model learns a teacher's reasoning (S1 §3.2, §4.5).

Store -> :mod:`traces` (what the teacher said of training windows, filtered) -> :mod:`examples` (the student's prompt,
the teacher's text) -> :mod:`training` (a child process trains and writes a student) -> :mod:`students` (a model like
any other, asked through the store). :mod:`audit` proves what went in and what came out.
"""

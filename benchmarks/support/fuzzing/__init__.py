"""Fuzzing of whatever reads what others send: targets, their corpora, and the process that fuzzes one of them."""

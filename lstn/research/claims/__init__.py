"""The paper's claims: its tables, the race between localizers, and a verdict by rule. Loads no stage by itself."""

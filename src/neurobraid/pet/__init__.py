"""PET: frames and units, motion, coregistration, regional curves, SUVR and reference-tissue models.

Times inside this package are seconds after injection in tables and minutes in kinetic models; activity is kBq/mL
decay-corrected to injection; rates are 1/min.
"""

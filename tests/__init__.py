"""Checks of neurobraid."""

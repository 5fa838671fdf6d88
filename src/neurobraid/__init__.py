"""neurobraid: functions behind the reproducible multimodal fMRI/PET workflow."""

__version__ = "0.1.0"

"""Errors that teach: each says what was found, where, and what to do."""


class SensoriumError(Exception):
    """Base of every error that is the input's fault and not the program's."""


class ConfigError(SensoriumError):
    """A recipe, a YAML file or an override says something that cannot be."""


class DataError(SensoriumError):
    """A sample cannot be used: a corrupt picture, a missing file, a placeholder without picture."""


class LayoutError(DataError):
    """A sample does not fit the model: longer than the context, or media the model has no encoder for."""


class TrainingError(SensoriumError):
    """A run cannot go on: its numbers are no longer finite."""


class CheckpointError(SensoriumError):
    """A folder is not a checkpoint, is cut short, or belongs to another run."""

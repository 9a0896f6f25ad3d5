"""dlcli: train deep networks from YAML configs and read why the test error is what it is."""

__version__ = "0.1.0"

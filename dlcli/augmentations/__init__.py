"""Random changes of training inputs on their device; each draws from the generator it is given, per example."""

"""The conformance kit: rules that every engine keeps, each tried on the engine where the worker would run it."""

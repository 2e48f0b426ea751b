"""The rules, a module for each thing that they are about; `catalogue` has them in order."""

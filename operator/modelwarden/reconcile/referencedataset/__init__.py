"""ReferenceDataset → a declared dataset in the model's store, and one Job that profiles it."""

"""The migrations, applied in the order of their numbers by ``callengine.store.migrate``. A released one is frozen."""

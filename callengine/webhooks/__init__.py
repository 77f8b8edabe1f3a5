"""Telling tenants of their calls: signed requests to their endpoints, in order for each call, until they arrive."""

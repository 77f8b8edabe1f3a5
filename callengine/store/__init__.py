"""The store: SQLite or Postgres through peewee. One writer owns the one write connection; reads run off the hub."""

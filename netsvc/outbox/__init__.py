"""The durable queue of things to send: what was accepted reaches exactly one terminal record per target.

Generic: mail and SMS stand on it, downloads later. It knows no protocol; a service gives it a `deliver` function and
gets back custody: model (terms), retry (when and how long), custody (what outcomes mean), parcels (what goes together),
destinations (what may be tried), steps* (what a database does, in SQL), store (the promise of a store), threaded_store
with sqlite_* (embedded) and postgres_* (several machines), runner (claims what is due) and courier (delivers, records).
"""

"""The durable queue of things to send: what was accepted reaches exactly one terminal record per target.

Generic: mail stands on it today, SMS and downloads later. It knows no protocol; a service gives it a `deliver`
function and gets back custody: model (terms), retry (when and how long), custody (what outcomes mean), store (the
promise of a store), sqlite_* (the embedded store), runner (claims what is due, delivers, records).
"""

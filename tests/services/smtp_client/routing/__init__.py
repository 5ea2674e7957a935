"""Tests of the room that decides where mail goes."""

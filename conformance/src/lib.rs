//! Scripted peers and helpers.

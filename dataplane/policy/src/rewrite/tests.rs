//! Tests of rewriting.

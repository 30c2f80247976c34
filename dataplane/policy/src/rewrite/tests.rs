//! Tests of rewriting.


//! Tests of compilation.

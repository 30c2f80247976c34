//! Tests of compilation.


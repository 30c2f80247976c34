//! Tests of the balancers.

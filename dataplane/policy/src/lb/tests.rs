//! Tests of the balancers.


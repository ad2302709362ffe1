//! Scenarios that drive the real Switchboard binaries from outside.

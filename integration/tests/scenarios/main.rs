//! The scenarios: each starts real processes in a temporary place and is named for what it shows.

mod classroom;

//! stub
use serde::{Deserialize, Serialize};
/// Q
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// file
    File(crate::FileName),
}

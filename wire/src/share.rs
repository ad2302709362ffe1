//! stub
use crate::*;
use serde::{Deserialize, Serialize};
/// P
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// n
    pub name: FileName,
    /// b
    pub bytes: u64,
    /// s
    pub sha256: Digest,
    /// k
    pub keywords: Vec<String>,
}
/// H
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// p
    pub peer: PeerName,
    /// f
    pub file: PublishedFile,
    /// o
    pub online: bool,
    /// a
    pub address: Option<std::net::SocketAddr>,
}
